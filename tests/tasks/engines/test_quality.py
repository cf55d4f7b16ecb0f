import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.engines.foreground import foreground
from tasks.engines.quality import clipped, compactness, exposure, sharpness
from tests.tasks.engines.scenes import product_photo, texture

EVERYWHERE = np.ones((128, 128), np.float32)


@pytest.mark.parametrize("name", ["backpack/00.jpg", "dog/00.jpg", "duck_toy/00.jpg", "vase/00.jpg"])
def test_a_blurred_photo_is_less_sharp(name: str) -> None:
    photo = product_photo(name).pixels
    likely = foreground(photo)
    found = [
        sharpness(np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), np.uint8), likely) for sigma in (0.5, 1, 2, 4)
    ]
    assert [sharpness(photo, likely), *found] == sorted([sharpness(photo, likely), *found], reverse=True)
    assert found[-1] < 0.3 < sharpness(photo, likely)


@pytest.mark.parametrize("name", ["backpack/00.jpg", "vase/00.jpg"])
def test_a_photo_that_was_enlarged_is_less_sharp(name: str) -> None:
    photo = product_photo(name).pixels
    likely = foreground(photo)
    half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    enlarged = np.asarray(cv2.resize(half, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    assert sharpness(enlarged, likely) < sharpness(photo, likely) - 0.03


@settings(deadline=None, max_examples=40)
@given(sigma=st.floats(0.6, 5), seed=st.integers(0, 50))
def test_blur_never_makes_a_surface_sharper(sigma: float, seed: int) -> None:
    photo = texture(seed, 128)
    blurred = np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), np.uint8)
    assert 0 <= sharpness(blurred, EVERYWHERE) < sharpness(photo, EVERYWHERE) <= 1


def test_only_the_product_counts_and_a_smear_in_one_direction_does() -> None:
    photo = texture(3, 128)
    half = np.zeros((128, 128), np.float32)
    half[:, :64] = 1
    beyond = photo.copy()
    beyond[:, 72:] = cv2.GaussianBlur(photo, (0, 0), 4)[:, 72:]
    assert sharpness(beyond, half) == pytest.approx(sharpness(photo, half), abs=1e-6)
    smeared = np.asarray(cv2.blur(photo, (15, 1)), np.uint8)
    assert sharpness(smeared, EVERYWHERE) < 0.6 * sharpness(photo, EVERYWHERE)
    assert sharpness(np.full_like(photo, 90), EVERYWHERE) == 0


@settings(deadline=None, max_examples=40)
@given(light=st.integers(0, 254))
def test_exposure_rises_with_light(light: int) -> None:
    darker, lighter = (np.full((8, 8, 3), level, np.uint8) for level in (light, light + 1))
    assert 0 <= exposure(darker, EVERYWHERE[:8, :8]) < exposure(lighter, EVERYWHERE[:8, :8]) <= 1 + 1e-6


def test_what_is_burnt_out_or_black_is_clipped() -> None:
    photo = np.full((10, 10, 3), 128, np.uint8)
    photo[:3], photo[3:5] = 255, 0
    photo[5] = (255, 0, 0)  # a pure red is a colour
    likely = np.ones((10, 10), np.float32)
    assert clipped(photo, likely) == pytest.approx(0.5)
    likely[:5] = 0
    assert clipped(photo, likely) == pytest.approx(0, abs=1e-5)


def disc(radius: int, side: int = 256) -> np.ndarray:
    return cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), radius, 1, cv2.FILLED).astype(bool)


@settings(deadline=None, max_examples=40)
@given(radius=st.integers(8, 100))
def test_a_disc_is_compact_whatever_its_size(radius: int) -> None:
    assert 0.8 < compactness(disc(radius)) <= 1.001


def test_what_is_drawn_out_ragged_or_scattered_is_less_compact() -> None:
    bar = np.zeros((256, 256), bool)
    bar[120:124, 20:240] = True
    specks = np.zeros((256, 256), bool)
    specks[::16, ::16] = True
    square = np.zeros((256, 256), bool)
    square[50:150, 50:150] = True
    assert compactness(specks) < compactness(bar) < 0.1 < compactness(square) < compactness(disc(50))
    assert compactness(square) == pytest.approx(np.pi / 4, abs=0.02)  # of a square
    holed = square.copy()
    holed[80:90, 80:90] = False
    assert compactness(holed) == compactness(square)
    with pytest.raises(ValueError, match="empty"):
        compactness(np.zeros((8, 8), bool))
