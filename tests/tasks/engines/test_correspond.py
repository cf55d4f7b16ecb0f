from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from schemas.records import Photo, Pixels, Polygon
from tasks.engines.correspond import (
    Correspondences,
    Features,
    Points,
    affine_about,
    features,
    features_once,
    glance,
    map_region,
    match,
    transfer,
    visible_share,
)
from tasks.engines.foreground import foreground
from tests.tasks.engines.scenes import placed, product_photo, texture, turned


def looked_at(pixels: Pixels) -> Features:
    return features(pixels, foreground(pixels))


def moved(points: Points, there: np.ndarray, here: np.ndarray) -> Points:
    """Return where relative points of the photo placed by `here` lie in the one placed by `there`."""
    square = np.array([0, 0, 1])
    step = np.vstack([there, square]) @ np.linalg.inv(np.vstack([here, square]))
    return np.asarray((np.c_[points * 512, np.ones(len(points))] @ step.T)[:, :2] / 512, dtype=np.float32)


HERE, THERE = turned(0, 0.7), turned(20, 0.9)


@pytest.fixture(scope="module")
def turned_pair() -> Correspondences:
    surface = texture(3)
    return match(looked_at(placed(surface, HERE)), looked_at(placed(surface, THERE)))


def test_inliers_lie_where_the_motion_puts_them(turned_pair: Correspondences) -> None:
    c = turned_pair
    assert c.inlier.sum() > 60
    error = np.linalg.norm(moved(c.points_target, THERE, HERE) - c.points_reference, axis=1)
    assert np.quantile(error[c.inlier], 0.95) < 0.01
    assert not c.inlier[error > 0.06].any()


def test_a_glance_finds_a_part_of_it() -> None:
    surface = texture(3)
    one, again, other = (
        looked_at(placed(surface, HERE)),
        looked_at(placed(surface, THERE)),
        looked_at(placed(texture(4), THERE)),
    )
    seen = glance(one, again)
    error = np.linalg.norm(moved(seen.points_target, THERE, HERE) - seen.points_reference, axis=1)
    assert seen.inlier.sum() > 40
    assert np.quantile(error[seen.inlier], 0.9) < 0.02
    assert glance(one, other).inlier.sum() < 0.3 * seen.inlier.sum()


def test_a_region_is_found_again(turned_pair: Correspondences) -> None:
    region: Polygon = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.55), (0.4, 0.55))
    assert visible_share(turned_pair, region) > 0.9
    found = map_region(turned_pair, region)
    assert found is not None
    np.testing.assert_allclose(np.array(found), moved(np.array(region), THERE, HERE), atol=0.015)


def test_a_region_that_the_reference_hides_is_not_visible() -> None:
    surface = texture(4)
    hidden = placed(surface, THERE)
    hidden[:, :256] = 90  # the left half of the reference is covered
    c = match(looked_at(placed(surface, HERE)), looked_at(hidden))
    left: Polygon = ((0.25, 0.45), (0.38, 0.45), (0.38, 0.7), (0.25, 0.7))
    right: Polygon = ((0.6, 0.35), (0.75, 0.35), (0.75, 0.6), (0.6, 0.6))
    assert visible_share(c, left) < 0.3
    assert visible_share(c, right) > 0.8


def test_other_surfaces_are_seldom_taken_for_visible() -> None:
    """All are squares on a plain ground, so that their outlines match; what is on them does not."""
    region: Polygon = ((0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7))
    shares = []
    for one, other in ((5, 6), (1, 2), (7, 8), (9, 10)):
        c = match(looked_at(placed(texture(one), HERE)), looked_at(placed(texture(other), THERE)))
        shares.append(visible_share(c, region))
    assert max(shares) < 0.7
    assert np.mean(shares) < 0.3


def test_photos_without_features_have_nothing_in_common() -> None:
    blank = np.full((512, 384, 3), 180, dtype=np.uint8)
    c = match(looked_at(blank), looked_at(blank))
    region: Polygon = ((0.2, 0.2), (0.8, 0.2), (0.5, 0.8))
    assert len(c.scores) == len(c.inlier) == 0
    assert visible_share(c, region) == 0
    assert map_region(c, region) is None


def test_transfer_follows_an_affine_map_in_photos_of_any_shape() -> None:
    steps = np.linspace(0.1, 0.9, 9)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2).astype(np.float32)
    affine = np.array([[0.6, 0.1], [-0.05, 0.7]])
    ones = np.ones(len(points), dtype=np.float32)
    image = (points @ affine.T + 0.15).astype(np.float32)
    c = Correspondences(points, image, ones, ones, ones.astype(bool), ones, (512, 384), (320, 512))
    asked = np.array([[0.33, 0.41], [0.72, 0.58]], dtype=np.float32)
    places, vouched = transfer(c, asked)
    assert vouched.all()
    np.testing.assert_allclose(places, asked @ affine.T + 0.15, atol=0.01)


def test_an_affine_map_is_found_again_and_none_where_nothing_vouches(turned_pair: Correspondences) -> None:
    region = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))
    found = affine_about(turned_pair, region)
    assert found is not None
    asked = np.array([[0.45, 0.5], [0.5, 0.45], [0.55, 0.55]], np.float32)
    wanted, vouched = transfer(turned_pair, asked)
    assert vouched.all()
    np.testing.assert_allclose(np.column_stack([asked, np.ones(3)]) @ found.T, wanted, atol=0.01)
    assert affine_about(turned_pair, ((0.0, 0.0), (0.02, 0.0), (0.02, 0.02))) is None


def test_a_real_product_is_matched_and_its_scene_is_not() -> None:
    bowl, again = features_once(product_photo("berry_bowl/00.jpg")), features_once(product_photo("berry_bowl/01.jpg"))
    assert match(bowl, again).inlier.sum() > 100
    candle, wolf = features_once(product_photo("candle/00.jpg")), features_once(product_photo("wolf_plushie/00.jpg"))
    same_rock = match(candle, wolf)  # both stand on the same rock before the same trees
    assert (same_rock.scores * same_rock.inlier * same_rock.on_object).sum() < 3


def test_threads_get_equal_answers_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    photos = [Photo(str(seed % 2), placed(texture(seed % 2), HERE)) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda photo: features(photo.pixels, foreground(photo.pixels)), photos))
    for number, one in enumerate(found):
        np.testing.assert_array_equal(one.points, found[number % 2].points)
        np.testing.assert_array_equal(one.descriptors, found[number % 2].descriptors)
    assert capfd.readouterr().out == ""
