import numpy as np
import pytest

from schemas.records import Photo, Polygon
from tasks.engines.agree import CUT, Agreement, agreement, lay_over, share_surface
from tasks.engines.correspond import match_once
from tasks.engines.embed import vector_once
from tests.tasks.engines.rendered import NUMBERS, photographed
from tests.tasks.engines.scenes import placed, texture, turned


def seen_by(target: Photo, reference: Photo) -> Agreement:
    return agreement(target, reference, match_once(target, reference))


def surely_one(target: Photo, reference: Photo) -> float:
    seen = seen_by(target, reference)
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
    one, other = seen_by(front, same), seen_by(front, back)
    assert one.found > other.found + 0.1
    assert one.vouched > other.vouched + 0.1
    assert one.unlike < 0.1


def test_a_region_that_looks_otherwise_is_told() -> None:
    surface = texture(1)
    changed = surface.copy()
    changed[120:260, 120:260] = texture(5)[120:260, 120:260]
    target, reference = (Photo(str(n), placed(one, turned(0, 0.8))) for n, one in enumerate((surface, changed)))
    laid = lay_over(target, reference, match_once(target, reference))

    def square(low: float, high: float) -> Polygon:
        """Return a square of the surface, relative to the photo."""
        a, b = ((256 + 0.8 * (side - 200)) / 512 for side in (low, high))
        return ((a, a), (b, a), (b, b), (a, b))

    assert laid.unlike_in(square(140, 240)) > 0.5
    assert laid.unlike_in(square(20, 100)) < 0.1


def test_nothing_vouched_for_is_no_surface() -> None:
    assert share_surface(0.9, Agreement(found=0.1, vouched=0.0, likeness=0.65, unlike=0.0)) == 0


def test_photos_without_anything_to_match_share_nothing() -> None:
    plain = [Photo(f"plain {tone}", np.full((300, 300, 3), tone, np.uint8)) for tone in (90, 160)]
    seen = seen_by(*plain)
    assert seen.found == 0
    assert not match_once(*plain).inlier.any()
    assert share_surface(1.0, seen) < CUT
