import cv2
import numpy as np
import pytest

from schemas.ids import stream
from tasks.engines.likeness import PSNR_CEILING, psnr, resemblance, ssim
from tests.tasks.engines.scenes import placed, texture, turned


def test_psnr_is_the_formula() -> None:
    dark, light = np.full((8, 8, 3), 100, dtype=np.uint8), np.full((8, 8, 3), 110, dtype=np.uint8)
    assert psnr(dark, light) == pytest.approx(20 * np.log10(255 / 10))
    assert psnr(dark, dark) == PSNR_CEILING


def test_only_the_mask_counts() -> None:
    photo = texture(1, 64)
    changed = photo.copy()
    changed[:32] = 255 - changed[:32]
    below = np.zeros((64, 64), dtype=bool)
    below[40:] = True
    assert psnr(photo, changed, below) == PSNR_CEILING
    assert ssim(photo, changed, below) == pytest.approx(1)
    assert psnr(photo, changed, ~below) < psnr(photo, changed) < PSNR_CEILING
    assert ssim(photo, changed, ~below) < 0.7


def test_ssim_is_the_formula_within_its_window() -> None:
    random = stream(0, "ssim")
    first, second = (random.integers(0, 256, (11, 11, 3), dtype=np.uint8) for _ in range(2))
    middle = np.zeros((11, 11), dtype=bool)
    middle[5, 5] = True
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    x, y = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(float) for one in (first, second))
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    spread = (window * (x - mean_x) ** 2).sum() + (window * (y - mean_y) ** 2).sum()
    expected = (2 * mean_x * mean_y + 2.55**2) * (2 * covariance + 7.65**2)
    expected /= (mean_x**2 + mean_y**2 + 2.55**2) * (spread + 7.65**2)
    assert ssim(first, second, middle) == pytest.approx(expected, abs=1e-6)


def test_more_noise_is_less_alike() -> None:
    photo = texture(2, 128)
    noise = stream(0, "noise").normal(0, 1, photo.shape)
    noisy = [np.clip(photo + strength * noise, 0, 255).astype(np.uint8) for strength in (4, 12, 36)]
    for measure in (psnr, ssim):
        values = [measure(photo, one) for one in noisy]
        assert values == sorted(values, reverse=True)


def test_resemblance_tells_a_thing_from_another() -> None:
    thing, again = placed(texture(3), turned(0, 0.6)), placed(texture(3), turned(12, 0.7))
    assert resemblance(thing, thing) == pytest.approx(1, abs=1e-5)
    assert resemblance(thing, again) > resemblance(thing, np.full_like(thing, 90)) + 0.2


def test_what_cannot_be_compared_is_refused() -> None:
    photo = texture(1, 32)
    with pytest.raises(ValueError, match="different sizes"):
        psnr(photo, photo[:16])
    with pytest.raises(ValueError, match="empty mask"):
        ssim(photo, photo, np.zeros((32, 32), dtype=bool))
    with pytest.raises(ValueError, match="a mask of"):
        psnr(photo, photo, np.ones((16, 16), dtype=bool))
