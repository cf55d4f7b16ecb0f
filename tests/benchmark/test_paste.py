"""The reference pasted into the mask, on surfaces of known geometry."""

import numpy as np

from benchmark.metrics import measure
from benchmark.models import open_model
from benchmark.models.blend import laid
from benchmark.models.paste import pasted
from schemas.benchmark import Weights
from schemas.ids import stream
from tasks.engines.likeness import psnr
from tests.benchmark.scenes import case, photographed, region


def test_it_beats_the_draft_where_the_reference_shows_the_region() -> None:
    target, reference = photographed()
    one = case(target, reference, region())
    (answer,) = open_model("paste").answer([one.problem])
    assert isinstance(answer, np.ndarray)
    paste, identity, perfect = (measure(one, pixels, Weights()) for pixels in (answer, one.problem.input, target))
    for name in ("psnr", "psnr_inside", "ssim", "ssim_inside"):
        assert (identity[name] or 0) < (paste[name] or 0) < (perfect[name] or 0), name
    assert psnr(answer, target, region(222, 232, 66)) > 28  # it lies where it belongs, in the draft's light
    assert paste["mse_outside"] == 0
    assert (perfect["seam"] or 0) < (paste["seam"] or 0) < (identity["seam"] or 0)


def test_where_nothing_matches_the_draft_stays_as_it_is() -> None:
    target, _ = photographed()
    _, other = photographed(seed=11)
    one = case(target, other, region())
    assert np.array_equal(pasted(one.problem), one.problem.input)
    blank = case(target, np.full_like(target, 128), region())
    assert np.array_equal(pasted(blank.problem), blank.problem.input)
    empty = case(target, target, np.zeros((512, 512), bool))
    assert np.array_equal(pasted(empty.problem), empty.problem.input)


def test_it_sees_nothing_but_the_problem() -> None:
    """The same draft in another damage of the same mask is mended the same: nothing of the damage gets through."""
    target, reference = photographed()
    first, second = (pasted(case(target, reference, region(), kind).problem) for kind in ("noisy", "recoloured"))
    middle = region(225, 235, 60)
    apart = np.abs(first.astype(int) - second)[middle]
    assert apart.mean() < 6


def test_what_is_laid_into_a_mask_changes_nothing_beyond_it() -> None:
    random = stream(0, "laid")
    draft, mended = (random.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((64, 64), bool)
    mask[:30, 20:50] = True  # meets the picture's edge
    answer = laid(draft, mended, mask)
    assert np.array_equal(answer[~mask], draft[~mask])
    assert np.array_equal(answer[:20, 26:44], mended[:20, 26:44])  # the picture's edge is no border
    assert np.array_equal(laid(draft, mended, mask, np.zeros((64, 64), np.float32)), draft)
