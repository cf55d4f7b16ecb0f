"""Where the product is in a photo, without any segmentation model.

A classifier's deepest features answer strongest where the thing is that it was trained to name: their norm, joined
with the class activation map and a mild centre prior, gives a coarse seed; GrabCut (Rother et al. 2004) finds the
outline by colour.
"""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Photo, Pixels
from tasks.engines.efficientnet import Maps, feature_maps
from tasks.engines.once import once_a_photo

SEEN_AT = 320  # px on the longer side, for the features
CUT_AT = 144  # px on the longer side, for GrabCut
CENTRE = 0.35  # standard deviation of the centre prior, of the photo's sides
SURELY_OBJECT, LIKELY_OBJECT, SURELY_BACKGROUND = 0.75, 0.30, 0.06  # of the seed, set by eye on product photos

Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[float, float, float, float]  # left, top, right, bottom, relative to width and height


def foreground(pixels: Pixels) -> NDArray[np.float32]:
    """Return how likely each pixel is the product's, (H, W) float32 in 0..1."""
    return _enlarged(_outlined(pixels), pixels)


def foreground_once(photo: Photo) -> NDArray[np.float32]:
    """Return foreground(photo.pixels); what is costly in it is computed once a photo."""
    return _enlarged(_outlined_once(photo), photo.pixels)


def _outlined(pixels: Pixels) -> NDArray[np.float32]:
    """Return the foreground at CUT_AT px."""
    height, width = pixels.shape[:2]
    scale = CUT_AT / max(height, width)
    size = (max(16, round(width * scale)), max(16, round(height * scale)))
    seed = _seed(feature_maps(pixels, SEEN_AT), size)
    labels = np.full(seed.shape, cv2.GC_PR_BGD, dtype=np.uint8)
    labels[seed > LIKELY_OBJECT] = cv2.GC_PR_FGD
    labels[seed > SURELY_OBJECT] = cv2.GC_FGD
    labels[seed < SURELY_BACKGROUND] = cv2.GC_BGD
    small = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    object_like = np.isin(labels, (cv2.GC_PR_FGD, cv2.GC_FGD))
    if not object_like.all():  # GrabCut needs samples of both sides; the seed's peak is always on the object's
        cv2.setRNGSeed(0)  # its colour models start from k-means; the generator is the thread's own
        cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 2, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
        object_like = np.isin(labels, (cv2.GC_PR_FGD, cv2.GC_FGD))
    outline = cv2.GaussianBlur(object_like.astype(np.float32), (0, 0), 1.2)
    near_seed = np.minimum(1, cv2.GaussianBlur(seed, (0, 0), 4) / LIKELY_OBJECT)  # doubts stray pieces of like colour
    return np.asarray(outline * (0.35 + 0.65 * near_seed), dtype=np.float32)


def object_box(likely: NDArray[np.float32], margin: float = 0.12) -> Box:
    """Return the box that holds the foreground but for 2% of its weight at each side, with a margin about it.

    `margin` is a share of the box's longer side. A photo with no foreground is its own box.
    """
    sides = []
    for axis in (0, 1):
        cumulative = np.cumsum(np.square(likely).sum(axis=axis, dtype=np.float64))
        if cumulative[-1] <= 0:
            return (0.0, 0.0, 1.0, 1.0)
        first, last = np.searchsorted(cumulative / cumulative[-1], (0.02, 0.98))
        sides.append((float(first), float(last + 1)))
    (left, right), (top, bottom) = sides
    height, width = likely.shape
    border = margin * max(right - left, bottom - top)
    return (
        max(0.0, (left - border) / width),
        max(0.0, (top - border) / height),
        min(1.0, (right + border) / width),
        min(1.0, (bottom + border) / height),
    )


def crop(array: NDArray[Scalar], box: Box) -> NDArray[Scalar]:
    """Return the part of a photo or map (H, W, ...) within a relative box, at least one pixel large."""
    height, width = array.shape[:2]
    left, top = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    return array[top : max(top + 1, round(box[3] * height)), left : max(left + 1, round(box[2] * width))]


def _outlined_of(photo: Photo) -> NDArray[np.float32]:
    return _outlined(photo.pixels)


_outlined_once = once_a_photo(_outlined_of)


def _enlarged(likely: NDArray[np.float32], pixels: Pixels) -> NDArray[np.float32]:
    full = cv2.resize(likely, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(full, 0, 1), dtype=np.float32)


def _seed(maps: Maps, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the coarse guess at `size` (width, height), its peak at 1."""
    strength = np.linalg.norm(maps.deep, axis=2)
    coarse = _stretched(_stretched(strength) + 0.7 * _stretched(maps.attention))
    wide = np.clip(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    squared = ((x + 0.5) / width - 0.5) ** 2 + ((y + 0.5) / height - 0.5) ** 2
    centred = wide * np.exp(-squared / (2 * CENTRE**2))
    return np.asarray(centred / max(float(centred.max()), 1e-6), dtype=np.float32)


def _stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(float(high - low), 1e-6), dtype=np.float32)
