import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engines.foreground import crop, foreground, foreground_once, object_box
from tests.tasks.engines.scenes import placed, product_photo, texture, turned


def test_an_object_on_a_plain_ground_stands_out() -> None:
    photo = placed(texture(1), turned(10, 0.55))
    likely = foreground(photo)
    on_object = cv2.erode((np.abs(photo.astype(int) - 128).sum(axis=2) > 0).astype(np.uint8), np.ones((5, 5))) > 0
    corners = np.concatenate([likely[:60, :60].ravel(), likely[-60:, -60:].ravel()])
    assert likely.dtype == np.float32
    assert likely.shape == photo.shape[:2]
    assert likely.min() >= 0
    assert likely.max() <= 1
    assert likely[on_object].mean() > 0.6
    assert corners.mean() < 0.1


def test_the_object_of_a_real_photo_is_found_beside_the_middle() -> None:
    likely = foreground(product_photo("backpack/03.jpg").pixels)  # the backpack stands right of the middle
    assert likely[:, 256:].sum() > 3 * likely[:, :256].sum()


@pytest.mark.parametrize("size", [(40, 200), (33, 33), (512, 512)])
def test_a_photo_without_anything_on_it_is_no_failure(size: tuple[int, int]) -> None:
    likely = foreground(np.full((*size, 3), 200, dtype=np.uint8))
    assert likely.shape == size
    assert np.isfinite(likely).all()


def test_the_same_photo_gives_the_same_foreground_computed_or_kept() -> None:
    photo = product_photo("candle/02.jpg")
    np.testing.assert_array_equal(foreground(photo.pixels), foreground_once(photo))
    np.testing.assert_array_equal(foreground(photo.pixels), foreground_once(photo))


@given(left=st.integers(0, 30), top=st.integers(0, 30), width=st.integers(1, 30), height=st.integers(1, 30))
def test_the_box_holds_the_object_and_stays_in_the_photo(left: int, top: int, width: int, height: int) -> None:
    likely = np.zeros((64, 64), dtype=np.float32)
    likely[top : top + height, left : left + width] = 1
    box = object_box(likely)
    assert 0 <= box[0] < box[2] <= 1
    assert 0 <= box[1] < box[3] <= 1
    assert crop(likely, box).sum() >= 0.9 * likely.sum()


def test_no_foreground_makes_the_photo_its_own_box() -> None:
    assert object_box(np.zeros((8, 8), dtype=np.float32)) == (0, 0, 1, 1)


def test_a_crop_has_at_least_one_pixel() -> None:
    assert crop(np.zeros((10, 10)), (0.999, 0.5, 1.0, 0.5)).shape == (1, 1)
