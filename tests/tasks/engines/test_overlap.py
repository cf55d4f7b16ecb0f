import numpy as np
import pytest

from schemas.records import Photo
from tasks.edit import polygon_mask
from tasks.engines.correspond import match_once, visible_share
from tasks.engines.overlap import reference_overlap
from tests.tasks.engines.scenes import placed, product_photo, texture, turned

INSIDE = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))


def photo(name: str, degrees: float = 0.0, seed: int = 3) -> Photo:
    return Photo(name, placed(texture(seed), turned(degrees, 0.8)))


def test_a_place_is_shown_by_another_view_and_not_by_another_thing() -> None:
    target = photo("overlap-a")
    mask = polygon_mask(INSIDE, 512, 512)
    again, other = match_once(target, photo("overlap-b", 8)), match_once(target, photo("overlap-c", seed=9))
    assert reference_overlap(again, mask) > 0.9
    assert reference_overlap(other, mask) < 0.1
    assert reference_overlap(again, mask) == pytest.approx(visible_share(again, INSIDE), abs=0.1)


def test_what_lies_beyond_the_reference_is_not_shown() -> None:
    """The reference is the target's left half: the share shown falls as the mask moves to the right."""
    whole = product_photo("backpack/00.jpg")
    width = whole.pixels.shape[1]
    half = Photo("overlap-half", np.ascontiguousarray(whole.pixels[:, : width // 2]))
    found = match_once(whole, half)
    shares = []
    for left in (0.25, 0.42, 0.58):
        region = ((left, 0.4), (left + 0.16, 0.4), (left + 0.16, 0.6), (left, 0.6))
        shares.append(reference_overlap(found, polygon_mask(region, width, whole.pixels.shape[0])))
    assert shares[0] > 0.8
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


def test_the_thinnest_mask_is_asked_about_and_an_empty_one_is_refused() -> None:
    found = match_once(photo("overlap-a"), photo("overlap-b", 8))
    line = np.zeros((512, 512), bool)
    line[256, 200:300] = True
    assert reference_overlap(found, line) > 0.9
    with pytest.raises(ValueError, match="empty"):
        reference_overlap(found, np.zeros((512, 512), bool))
