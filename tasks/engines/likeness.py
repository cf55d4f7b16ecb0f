"""How alike two photos are, in the whole or within a mask: PSNR, SSIM, and the embedder's cosine."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels
from tasks.engines.embed import embed

PSNR_CEILING = 100.0  # dB, for equal pixels: a number that sorts, where the formula has infinity
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # an 11 x 11 Gaussian window, as in the paper


def psnr(first: Pixels, second: Pixels, mask: Mask | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB over the mask (or everywhere), at most 100.

    10 log10(255^2 / MSE), the mean taken over the masked pixels and the three channels (ITU-T J.340).
    Raises ValueError for photos of different sizes and for an empty mask.
    """
    inside = _inside(first, second, mask)
    error = np.square(first[inside].astype(np.float64) - second[inside]).mean()
    return PSNR_CEILING if error == 0 else float(min(PSNR_CEILING, 10 * np.log10(255.0**2 / error)))


def ssim(first: Pixels, second: Pixels, mask: Mask | None = None) -> float:
    """Return the mean structural similarity (-1..1) of luma over the mask (or everywhere).

    Wang et al., IEEE TIP 2004, equation 13 with its Gaussian window (11 x 11, sigma 1.5), K1 = 0.01, K2 = 0.03.
    Every pixel counts, those at the border with a mirrored surrounding. Raises as `psnr` does.
    """
    inside = _inside(first, second, mask)
    x, y = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY).astype(np.float64) for one in (first, second))
    mean_x, mean_y = _smooth(x), _smooth(y)
    variance_x, variance_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    local = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    local /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(local[inside].mean())


def resemblance(first: Pixels, second: Pixels) -> float:
    """Return the cosine (0..1) of the two products' embeddings (see `embed`); about 0.7 tells same from other."""
    one, other = embed([first, second])
    return float(np.clip(one @ other, 0, 1))


def _inside(first: Pixels, second: Pixels, mask: Mask | None) -> Mask:
    if first.shape != second.shape:
        raise ValueError(f"photos of different sizes: {first.shape} and {second.shape}")
    if mask is None:
        return np.ones(first.shape[:2], dtype=bool)
    if mask.shape != first.shape[:2]:
        raise ValueError(f"a mask of {mask.shape} for photos of {first.shape[:2]}")
    if not mask.any():
        raise ValueError("an empty mask: nothing to compare")
    return mask


def _smooth(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    side = 2 * SSIM_RADIUS + 1
    return np.asarray(cv2.GaussianBlur(plane, (side, side), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT))
