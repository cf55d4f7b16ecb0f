"""What an edit changed: the measured mask, and the edit pasted back so that nothing else differs."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels

LEAST_CHANGE = 2.0  # Lab units, smoothed: about what an eye tells apart on a photo
NOISE_FACTOR = 4.0  # times the photo's usual difference: what a codec or an autoencoder does everywhere is no change
MOST_NOISE = 16.0  # Lab units, smoothed: what differs by more is a change, however coarse the texture
SMOOTHING = 1.2  # pixels at 512
CLOSING = 7  # pixels at 512: gaps between letters of one line, threads of one weave
SPECK = 1 / 16  # of the largest piece's area: smaller ones are no part of the edit
LEAST_SHARE = 6e-5  # of the image (16 pixels at 512 x 512)


def change_mask(target: Pixels, edited: Pixels) -> Mask:
    """Return where `edited` differs visibly from `target`, two RGB images (H, W, 3) of one size, as a mask (H, W).

    The difference is Euclidean in Lab, smoothed. It must pass a visible amount and several times the level that the
    whole image differs by, taken as proportional to the local contrast as coding errors are; that level is a median,
    so up to half of the image may be edited. Specks are dropped, gaps closed, holes filled.
    Raises ValueError when the sizes differ.
    """
    if target.shape != edited.shape:
        raise ValueError(f"sizes differ: {target.shape} and {edited.shape}")
    if np.array_equal(target, edited):
        return np.zeros(target.shape[:2], bool)
    scale = max(0.5, max(target.shape[:2]) / 512)
    before, after = _lab(target), _lab(edited)
    raw = np.linalg.norm(after - before, axis=-1)
    difference = cv2.GaussianBlur(raw, (0, 0), SMOOTHING * scale)
    contrast = 2 + _contrast(before, 3 * scale)
    usual = float(np.median(difference / contrast))
    changed = difference > np.clip(NOISE_FACTOR * usual * contrast, LEAST_CHANGE, MOST_NOISE)
    changed &= raw > LEAST_CHANGE / 2  # what smoothing spread beyond the change itself
    return _solid(changed, round(CLOSING * scale))


def paste_back(target: Pixels, edited: Pixels, mask: Mask, feather_px: int) -> Pixels:
    """Return `edited` within `mask`, `target` beyond `feather_px` pixels of it, a smooth passage between (H, W, 3).

    Outside the feather the answer equals `target` bit by bit; within the mask it equals `edited`.
    """
    if not mask.any():
        return target.copy()
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = np.where(distance <= feather_px, 1 - distance / (feather_px + 1), 0)[..., None]
    alpha = near * near * (3 - 2 * near)
    mixed = target + alpha * (edited.astype(np.float32) - target)
    return np.where(alpha > 0, np.round(mixed).astype(np.uint8), target)


def _lab(pixels: Pixels) -> NDArray[np.float32]:
    return cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).astype(np.float32)


def _contrast(colours: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Return the deviation of lightness around each pixel."""
    lightness = colours[..., 0]
    mean = cv2.GaussianBlur(lightness, (0, 0), radius)
    return np.sqrt(np.maximum(cv2.GaussianBlur(lightness * lightness, (0, 0), radius) - mean * mean, 0))


def _solid(changed: Mask, closing: int) -> Mask:
    """Return the mask without specks, its gaps closed and its holes filled."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * closing + 1,) * 2)
    padded = cv2.copyMakeBorder(changed.astype(np.uint8), *(closing + 1,) * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    if count == 1:
        return np.zeros_like(changed)
    kept = areas >= max(SPECK * areas.max(), LEAST_SHARE * changed.size)
    outlines, _ = cv2.findContours(kept[labels].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(padded), outlines, -1, 1, cv2.FILLED)
    inner = slice(closing + 1, -closing - 1)
    return filled[inner, inner].astype(bool)
