"""The metrics' laws, and values that others' libraries give."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmark.cases import Case, Problem
from benchmark.metrics import METRICS, identity, measure, mse, not_computed, seam
from schemas.benchmark import Weights
from schemas.errors import SettingsError
from schemas.records import Category, Task
from tasks.engines.likeness import psnr, ssim
from tasks.render.photos import render_view
from tasks.render.products import product
from tests.benchmark.scenes import DAMAGES, case, damaged, photographed, region
from tests.tasks.engines.scenes import texture

NONE = Weights()


def lettered() -> Case:
    """A rendered can, its name in the mask."""
    photo = render_view(product(7, 1), 0, 7, 512)
    drawn = next(part for part in photo.parts if part.category is Category.TEXT)
    polygon = np.round(np.asarray(drawn.polygon) * 512).astype(np.int32)
    mask = cv2.fillPoly(np.zeros((512, 512), np.uint8), [polygon], 1).astype(bool)
    spoilt = damaged(photo.pixels, mask, "blurred", 1)
    return Case(Problem("1" * 32, spoilt, photo.pixels, mask, "Mend it.", Task.REF_FIX, Category.TEXT), photo.pixels)


@pytest.mark.parametrize("kind", DAMAGES)
def test_more_damage_never_scores_better_and_nothing_beats_the_truth(kind: str) -> None:
    """Each metric, as far as it is computed here, falls from the truth through slight damage to the whole of it."""
    target, reference = photographed()
    one = case(target, reference, region(), kind)
    steps = [measure(one, damaged(target, region(), kind, share), NONE) for share in (0.0, 0.3, 0.6, 1.0)]
    for name, metric in METRICS.items():
        values = [step[name] for step in steps]
        if metric.needs or name == "text":
            assert values == [None] * 4
            continue
        worse = [-value if metric.better == "high" else value for value in values if value is not None]
        assert worse == sorted(worse), name
        assert len(worse) == 4
        if not name.endswith("outside"):
            assert worse[0] < worse[1], name  # the truth is alone at the top


def test_what_changes_outside_the_mask_counts_there() -> None:
    target, reference = photographed()
    one = case(target, reference, region())
    elsewhere = measure(one, damaged(target, ~region(), "noisy", 0.5), NONE)
    inside = measure(one, damaged(target, region(), "noisy", 0.5), NONE)
    assert elsewhere["psnr_inside"] == inside["psnr_outside"] == 100
    assert inside["mse_outside"] == 0 < (elsewhere["mse_outside"] or 0)


def test_text_is_read_right_or_wrong() -> None:
    one = lettered()
    assert measure(one, one.target, NONE)["text"] == 1
    blurred = measure(one, one.problem.input, NONE)["text"]
    assert blurred is not None
    assert blurred < 0.5


def test_figures_are_those_of_scikit_image() -> None:
    """Written down from scikit-image: its structural_similarity with gaussian_weights, without sample covariance."""
    target = texture(3, 96)
    blurred = np.asarray(cv2.GaussianBlur(target, (0, 0), 1.2), np.uint8)
    inside = np.zeros((96, 96), bool)
    inside[30:60, 20:70] = True
    assert psnr(target, blurred) == pytest.approx(17.72387101329265, abs=0.02)
    assert psnr(target, blurred, inside) == pytest.approx(17.537291987759495, abs=0.02)
    assert ssim(target, blurred, inside) == pytest.approx(0.7082625667669274, abs=1e-3)
    assert mse(target, blurred, ~inside) == pytest.approx(1088.857871090375, rel=5e-3)


def test_a_seam_is_a_step_at_the_border_and_not_what_is_within() -> None:
    target, _ = photographed()
    mask = region()
    lighter = np.where(mask[..., None], np.clip(target.astype(int) + 25, 0, 255), target).astype(np.uint8)
    middle = np.zeros_like(mask)
    middle[240:290, 230:280] = True
    assert seam(target, target, mask) == 0
    assert seam(lighter, target, mask) > 0.5
    assert seam(damaged(target, middle, "noisy", 1), target, mask) == 0
    assert seam(lighter, target, np.ones_like(mask)) == 0  # a mask without a border


def test_what_has_no_weights_is_not_computed_and_never_a_number() -> None:
    missing = not_computed(NONE)
    assert set(missing) == {name for name, metric in METRICS.items() if metric.needs}
    assert "weights.dreamsim" in missing["dreamsim"]
    target, reference = photographed()
    found = measure(case(target, reference, region()), target, NONE)
    assert all(found[name] is None for name in missing)


def test_an_empty_mask_has_nothing_inside() -> None:
    target, reference = photographed()
    found = measure(case(target, reference, np.zeros((512, 512), bool)), target, NONE)
    assert found["psnr"] == 100
    assert found["psnr_inside"] is found["seam"] is None


@pytest.mark.parametrize("name", ["lpips", "clip", "dino", "dreamsim"])
def test_weights_that_are_not_there_are_named_before_any_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=name):
        identity(Weights.model_validate({name: tmp_path / "nowhere"}))


class Mean:
    """In DreamSim's place, whose weights are not at hand here: it sees mean colours."""

    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(dim=(2, 3))


def test_dreamsim_is_one_less_the_likeness_of_whole_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("benchmark.metrics", "tasks.engines.dreamsim"):
        monkeypatch.setattr(f"{module}.load_dreamsim", lambda _folder, _device: Mean())
    (tmp_path / "it").write_text("weights")
    weights = Weights(dreamsim=tmp_path)
    target, reference = photographed()
    one = case(target, reference, region(), "recoloured")
    found = measure(one, one.problem.input, weights)
    assert found["dreamsim_inside"] is not None and found["dreamsim"] is not None
    assert found["dreamsim_inside"] > 10 * found["dreamsim"] > 0
    assert measure(one, target, weights)["dreamsim"] == pytest.approx(0, abs=1e-6)
    assert identity(weights) != identity(NONE)
