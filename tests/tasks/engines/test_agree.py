import numpy as np
import pytest

from schemas.records import Photo
from tasks.engines.agree import CUT, agreement, share_surface
from tasks.engines.embed import vector_once
from tests.tasks.engines.rendered import NUMBERS, photographed
from tests.tasks.engines.scenes import placed, texture, turned


def surely_one(target: Photo, reference: Photo) -> float:
    seen, _ = agreement(target, reference)
    return share_surface(float(vector_once(target) @ vector_once(reference)), seen)


@pytest.mark.parametrize("number", NUMBERS)
def test_two_views_of_one_side_share_their_surface(number: int) -> None:
    assert surely_one(photographed(number, 0), photographed(number, 1)) > CUT


def test_front_and_back_seldom_do() -> None:
    refused = [surely_one(photographed(number, 0), photographed(number, 5)) < CUT for number in NUMBERS]
    assert np.mean(refused) >= 0.6


def test_what_is_drawn_anew_is_not_found_again() -> None:
    """One outline and one border, another picture within."""
    front = Photo("front", placed(texture(1), turned(0, 0.8)))
    surface = texture(1)
    surface[40:-40, 40:-40] = texture(2)[40:-40, 40:-40]
    back, same = Photo("back", placed(surface, turned(8, 0.8))), Photo("same", placed(texture(1), turned(8, 0.8)))
    one, other = agreement(front, same)[0], agreement(front, back)[0]
    assert one.found > other.found + 0.1
    assert one.vouched > other.vouched + 0.1
    assert one.unlike < 0.1


def test_photos_without_anything_to_match_share_nothing() -> None:
    plain = [Photo(f"plain {tone}", np.full((300, 300, 3), tone, np.uint8)) for tone in (90, 160)]
    seen, c = agreement(*plain)
    assert seen.found == 0
    assert not c.inlier.any()
    assert share_surface(1.0, seen) < CUT
