"""Smooth fields: random ones, the lowpass of an image, an image moved by a field, holes filled smoothly."""

import cv2
import numpy as np

from tasks.engines.procedural.region import Colours, Plane, single

Field = Plane | Colours


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Plane:
    """Return a random field (h, w) of mean 0 and deviation about 1 that varies over `scale` pixels."""
    coarse = [max(2, round(side / scale) + 2) for side in shape]
    knots = rng.standard_normal(coarse).astype(np.float32)
    # A cubic between independent knots keeps about 0.7 of their deviation.
    return cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32) / 0.7


def lowpass(image: Field, sigma: float) -> Field:
    """Return `image` blurred by a Gaussian of `sigma` pixels, computed at reduced size where that is as good."""
    factor = int(sigma // 3)
    if factor < 2 or min(image.shape[:2]) < 4 * factor:
        return cv2.GaussianBlur(image, (0, 0), sigma).astype(np.float32)
    height, width = image.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), sigma / factor)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def move(image: Field, dx: Plane, dy: Plane) -> Field:
    """Return `image` looked up at (x + dx, y + dy) pixels, bicubic, mirrored at the border."""
    x, y = grid(image.shape[:2])
    return cv2.remap(image, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def grid(shape: tuple[int, ...]) -> tuple[Plane, Plane]:
    """Return the x and the y of every pixel of an (h, w) image."""
    y, x = np.indices(shape, dtype=np.float32)
    return x, y


def fill(image: Field, known: Plane) -> Field:
    """Return `image` with what is not `known` (weights 0..1) filled smoothly from what is (push and pull)."""
    weight = known if image.ndim == 2 else known[..., None]
    return _pull(image * weight, known)


def _pull(weighted: Field, weight: Plane) -> Field:
    """Return weighted / weight; where the weight is low, what the image at half its size says."""
    share = weight if weighted.ndim == 2 else weight[..., None]
    own = weighted / np.maximum(share, 1e-6)
    if min(weight.shape) <= 2 or weight.min() > 0.5:
        total = max(float(weight.sum()), 1e-6)
        mean = weighted.sum(axis=(0, 1)) / total
        confident = np.minimum(share, 1)
        return single(own * confident + mean * (1 - confident))
    below = _pull(cv2.pyrDown(weighted).astype(np.float32), cv2.pyrDown(weight).astype(np.float32))
    above = cv2.pyrUp(below, dstsize=weight.shape[::-1])
    confident = np.clip(share, 0, 1)
    return single(own * confident + above * (1 - confident))


def step(values: Plane, low: float, high: float) -> Plane:
    """Return a smooth step that is 0 up to `low` and 1 from `high`."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return single(t * t * (3 - 2 * t))
