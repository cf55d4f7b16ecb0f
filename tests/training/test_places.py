"""The reference is looked at where it shows the region, as far as anybody can tell from the draft."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from schemas.records import Photo
from schemas.training import Data
from tasks.edit import polygon_mask
from tasks.engines.correspond import map_region
from tasks.engines.likeness import ssim
from tests.conftest import Built
from tests.tasks.engines.rendered import NUMBERS, SIZE, matched, photographed, proposed
from training import places
from training.dataset import batches, once, open_split
from training.focus import around, beside, cut, cut_mask, focus
from training.places import find_place, look_up


def test_a_region_that_is_spoilt_in_the_draft_is_found_in_the_reference() -> None:
    for number in list(NUMBERS)[:2]:
        region = proposed(number)[0].thing.polygon
        target, reference = photographed(number, 0), photographed(number, 1)
        mask = polygon_mask(region, SIZE, SIZE)
        noise = cv2.GaussianBlur(target.pixels, (0, 0), 12)
        draft = Photo(f"draft/{number}", np.where(mask[..., None], noise, target.pixels))
        there = map_region(matched(number), region)
        assert there is not None
        left, top = np.min(there, axis=0)
        right, bottom = np.max(there, axis=0)
        found = find_place(draft, reference, mask)
        assert found.found
        shared = max(0, min(right, found.right) - max(left, found.left)) * max(
            0, min(bottom, found.bottom) - max(top, found.top)
        )
        both = (right - left) * (bottom - top) + (found.right - found.left) * (found.bottom - found.top) - shared
        assert shared / both > 0.5
        # turned as the draft shows it, it looks like the target there: more than the box alone does
        assert found.turn is not None
        thing = around(mask)
        assert thing is not None
        crop = focus(thing, (SIZE, SIZE), (96, 96), 0.2, (0, 0))
        wanted, where = cut(target.pixels, crop, (96, 96)), cut_mask(mask, crop, (96, 96))
        aligned, plain = (
            beside(reference.pixels, found, crop, thing, (SIZE, SIZE), (96, 96), how) for how in (True, False)
        )
        assert ssim(aligned, wanted, where) > ssim(plain, wanted, where) + 0.05


def test_where_nothing_matches_it_is_the_whole_product() -> None:
    mask = np.zeros((SIZE, SIZE), bool)
    reference = photographed(0, 1)
    nothing = find_place(photographed(0, 0), reference, mask)
    assert not nothing.found
    assert 0 <= nothing.left < nothing.right <= 1
    assert 0 <= nothing.top < nothing.bottom <= 1
    mask[200:260, 200:260] = True
    grey = Photo("grey", np.full((SIZE, SIZE, 3), 128, np.uint8))
    assert find_place(grey, reference, mask) == nothing


def test_places_are_looked_up_once(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = open_split(built.lake.root, "v1", "train")
    told: list[int] = []
    first = look_up(split, tmp_path / "places", 1, told.append)
    assert sum(told) == split.samples
    assert first.places is not None
    assert first.places.shape == (split.samples, 11)
    assert first.places[:, 4].mean() > 0.5

    monkeypatch.setattr(places, "ProcessPoolExecutor", lambda *_, **__: NoPool())
    again = look_up(split, tmp_path / "places", 1)
    assert again.places is not None
    assert np.array_equal(again.places, first.places, equal_nan=True)

    file = next((tmp_path / "places").glob("*.parquet"))
    pq.write_table(pq.read_table(file)[1:], file)
    with pytest.raises(AssertionError, match="asked"):
        look_up(split, tmp_path / "places", 1)

    data = Data(size=256, batch=4, workers=0)
    assert sum(len(batch.keys) for batch in once(first, data, 0)) == split.samples
    raw, pasted = (next(batches(first, data.model_copy(update={"edit": edit}), 0)) for edit in ("raw", "pasted"))
    assert raw.keys == pasted.keys
    assert (raw.target == pasted.target).all()
    assert (raw.mask == pasted.mask).all()
    assert not (raw.input == pasted.input).all()


class NoPool:
    def map(self, *_: object) -> None:
        raise AssertionError("asked")

    def shutdown(self, cancel_futures: bool) -> None:
        pass
