"""What a photo and a mask say of themselves: sharpness, exposure, and how compact an edited place is."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels

BLUR = 11  # px: the length of the filter that a photo is held against, as in the paper
DARK, BRIGHT = 3, 252  # levels (0..255): beyond, nothing is left to see

Plane = NDArray[np.float32]


def sharpness(pixels: Pixels, likely: Plane) -> float:
    """Return how sharp a photo (H, W, 3) is where its foreground (H, W), 0..1, is: 0 (blurred) to 1.

    One less the blur effect of Crété et al. (SPIE 6492, 2007): how much of the variation between neighbours a further
    blur takes away. A photo that was blurred before has little left to lose, whatever it shows. Of the two directions
    the worse one counts. A photo without any variation is not sharp.
    """
    light: Plane = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    worst = 1.0
    for axis in (0, 1):
        size = (1, BLUR) if axis == 0 else (BLUR, 1)
        blurred = np.asarray(cv2.blur(light, size, borderType=cv2.BORDER_REFLECT), np.float32)
        weight = np.minimum(*_neighbours(likely, axis))
        here, there = (np.abs(np.subtract(*_neighbours(plane, axis))) for plane in (light, blurred))
        variation = float((weight * here).sum(dtype=np.float64))
        lost = float((weight * np.maximum(here - there, 0)).sum(dtype=np.float64))
        worst = min(worst, lost / variation if variation > 0 else 0.0)
    return worst


def exposure(pixels: Pixels, likely: Plane) -> float:
    """Return the mean lightness (L* / 100: 0 black to 1 white) of a photo's foreground."""
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return _mean(np.asarray(lab[..., 0] / 100, np.float32), likely)


def clipped(pixels: Pixels, likely: Plane) -> float:
    """Return the share (0..1) of a photo's foreground that is black or white in all three channels."""
    lost = (pixels.max(axis=-1) < DARK) | (pixels.min(axis=-1) > BRIGHT)
    return _mean(lost.astype(np.float32), likely)


def compactness(mask: Mask) -> float:
    """Return how compact a mask (H, W) is: 1 for a disc (0.85 in pixels), less the more ragged or scattered it is.

    4 pi area / perimeter^2 (Polsby and Popper, 1991) over all pieces together, holes filled. Outlines run through the
    middles of pixels; both figures are those of the shape half a pixel wider (Steiner's formula). Raises ValueError for
    an empty mask.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        raise ValueError("an empty mask has no shape")
    inner = sum(cv2.arcLength(outline, True) for outline in outlines)
    area = sum(cv2.contourArea(outline) for outline in outlines) + inner / 2 + len(outlines) * np.pi / 4
    return float(4 * np.pi * area / (inner + len(outlines) * np.pi) ** 2)


def _neighbours(plane: Plane, axis: int) -> tuple[Plane, Plane]:
    return (plane[1:], plane[:-1]) if axis == 0 else (plane[:, 1:], plane[:, :-1])


def _mean(plane: Plane, likely: Plane) -> float:
    return float(np.average(plane, weights=likely + np.float32(1e-6)))
