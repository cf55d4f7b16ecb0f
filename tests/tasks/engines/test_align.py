import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import stream
from schemas.records import Pixels
from tasks.engines.align import Drift, align
from tasks.engines.likeness import psnr
from tests.tasks.engines.scenes import product_photo, texture

SIDE = 256
REGION = np.zeros((SIDE, SIDE), bool)
REGION[90:170, 80:180] = True
SEEN = np.zeros((SIDE, SIDE), bool)
SEEN[12:-12, 12:-12] = True  # what moves in over the border is unknown
SEEN &= ~REGION


def drawn(seed: int) -> Pixels:
    """A surface full of shapes, as sharp as a lens draws it."""
    return np.asarray(cv2.GaussianBlur(texture(seed, SIDE), (0, 0), 0.8), np.uint8)


def moved(pixels: Pixels, x: float, y: float, gains: tuple[float, float, float] = (1, 1, 1)) -> Pixels:
    """Move a photo by exactly (x, y) px and multiply its colours: by its spectrum, the border mirrored."""
    wide = np.pad(pixels.astype(float), ((32, 32), (32, 32), (0, 0)), "reflect")
    rows, columns = (np.fft.fftfreq(side) for side in wide.shape[:2])
    turn = np.exp(-2j * np.pi * (rows[:, None] * y + columns[None, :] * x))[..., None]
    back = np.fft.ifft2(np.fft.fft2(wide, axes=(0, 1)) * turn, axes=(0, 1)).real[32:-32, 32:-32]
    return np.asarray(np.clip(np.rint(back * gains), 0, 255), np.uint8)


def far(drift: Drift, x: float, y: float) -> float:
    """Say how far the shift that was found is from the one that was made, in px."""
    return float(np.hypot(drift.shift_x - x, drift.shift_y - y))


def painted(pixels: Pixels) -> Pixels:
    """Edit the region, well within it."""
    edited = pixels.copy()
    edited[100:160, 90:170] = 255 - edited[100:160, 90:170]
    return edited


def test_a_moved_and_tinted_edit_is_brought_back() -> None:
    target = drawn(1)
    edited = moved(painted(target), 1.3, -0.7, (0.95, 1.03, 0.9))
    aligned, drift = align(target, edited, REGION)
    assert far(drift, 1.3, -0.7) < 0.05
    assert 3 < drift.colour < 10
    assert psnr(edited, target, SEEN) < 26
    assert psnr(aligned, target, SEEN) > 44
    assert psnr(aligned[105:155, 95:165], painted(target)[105:155, 95:165]) > 40  # the edit, untinted as well


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.tuples(*[st.floats(0.9, 1.1)] * 3),
    st.floats(0, 4),
)
def test_any_small_shift_and_tint_is_found_under_noise(
    seed: int, x: float, y: float, gains: tuple[float, float, float], noise: float
) -> None:
    target = drawn(seed)
    grain = stream(seed, "grain").normal(0, noise, target.shape)
    edited = np.asarray(np.clip(painted(moved(target, x, y, gains)) + grain, 0, 255), np.uint8)
    aligned, drift = align(target, edited, REGION)
    assert far(drift, x, y) < 0.1
    assert psnr(aligned, target, SEEN) > min(40, 47 - 3.5 * noise)


def test_what_was_painted_elsewhere_does_not_count() -> None:
    target = drawn(2)
    edited = painted(moved(target, -2.2, 0.6))
    edited[180:240, 20:120] = 255 - edited[180:240, 20:120]
    drift = align(target, edited, REGION)[1]
    assert far(drift, -2.2, 0.6) < 0.05
    assert drift.colour == 0


def test_a_large_shift_is_found_as_well() -> None:
    target = drawn(3)
    drift = align(target, painted(moved(target, 13.4, -9.2)), REGION)[1]
    assert far(drift, 13.4, -9.2) < 0.1


def test_an_edit_that_is_not_off_is_left_as_it_is() -> None:
    target = drawn(4)
    edited = painted(target)
    aligned, drift = align(target, edited, REGION)
    assert drift == Drift()
    assert np.array_equal(aligned, edited)
    noisy = np.clip(edited + stream(4, "grain").normal(0, 3, target.shape), 0, 255).astype(np.uint8)
    aligned, drift = align(target, noisy, REGION)
    assert drift == Drift()
    assert np.array_equal(aligned, noisy)


def test_an_empty_surrounding_says_nothing_of_a_shift() -> None:
    target = np.full((SIDE, SIDE, 3), 240, np.uint8)
    target[90:170, 80:180] = drawn(5)[90:170, 80:180]
    noisy = np.clip(painted(target) + stream(5, "grain").normal(0, 2, target.shape), 0, 255).astype(np.uint8)
    assert align(target, noisy, REGION)[1] == Drift()


def test_a_region_over_the_whole_photo_leaves_nothing_to_go_by() -> None:
    target = drawn(6)
    assert align(target, 255 - target, np.ones((SIDE, SIDE), bool))[1] == Drift()


def test_real_photos_are_brought_back() -> None:
    for name in ("candle/01.jpg", "dog/01.jpg"):
        target = product_photo(name).pixels[100 : 100 + SIDE, 100 : 100 + SIDE]
        aligned, drift = align(target, painted(moved(target, 1.3, -0.7, (0.95, 1.03, 1))), REGION)
        assert far(drift, 1.3, -0.7) < 0.05
        assert psnr(aligned, target, SEEN) > 40


def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes differ"):
        align(drawn(0), drawn(0)[:100], REGION)
