"""How alike two photos of a product are in style: light, colour and sharpness, and not what else is in the picture.

Light and colour are compared where the same surface was found in both photos. Averages over the product would not do:
a bowl seen from above shows more of the dark berries in it, which is no other light.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Pixels
from tasks.engines.correspond import Points

# Each figure's spread: the standard deviation of its difference over 189 pairs of photos of one product (DreamBooth's
# 20 products), divided by the root of two. In CIELAB units, but for contrast and sharpness, which are logarithms.
SPREAD = {
    "lightness": 5.8,
    "red_green": 3.1,
    "yellow_blue": 3.8,
    "contrast": 0.155,
    "surroundings": 6.6,
    "sharpness": 0.2,
}
SMALL = 128  # px on the longer side, for colours
LEAST_CONTRAST = 3.0  # of L*: below, a spread of lightness is noise


@dataclass(frozen=True)
class Look:
    """What of a photo decides its style: `lab` (h, w, 3) float32 in CIELAB at 128 px, the mean lightness of the whole
    (0..100), and the logarithm of the product's sharpness.
    """

    lab: NDArray[np.float32]
    surroundings: float
    sharpness: float


def look_of(pixels: Pixels, likely: NDArray[np.float32]) -> Look:
    """Return the look of a photo whose foreground is `likely` (H, W), 0..1."""
    scale = SMALL / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 0.75).astype(np.float32) / 255
    lab = np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), dtype=np.float32)
    edges = np.square(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    sharpness = float(np.log(np.sqrt(np.average(edges, weights=likely + 1e-3)) + 1))
    return Look(lab, float(lab[..., 0].mean(dtype=np.float64)), sharpness)


def colours_at(look: Look, points: Points) -> NDArray[np.float32]:
    """Return the CIELAB colours (N, 3) at relative points (N, 2)."""
    height, width = look.lab.shape[:2]
    columns = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return np.asarray(look.lab[rows, columns], dtype=np.float32)


def style(one: Look, other: Look, points_one: Points, points_other: Points) -> tuple[float, dict[str, float]]:
    """Return the likeness of two photos' styles (0..1) and each figure's difference in spreads.

    The points (N, 2) are places of the same surface, N of 1 or more. Two photos of one product taken at random differ
    by 2 in mean square, and score 0.6.
    """
    here, there = colours_at(one, points_one), colours_at(other, points_other)
    lightness, red_green, yellow_blue = np.median(here - there, axis=0)
    difference = {
        "lightness": lightness,
        "red_green": red_green,
        "yellow_blue": yellow_blue,
        "contrast": np.log(_contrast(here) / _contrast(there)),
        "surroundings": one.surroundings - other.surroundings,
        "sharpness": one.sharpness - other.sharpness,
    }
    apart = {name: round(float(difference[name]) / spread, 2) for name, spread in SPREAD.items()}
    return float(np.exp(-np.mean(np.square(list(apart.values()))) / 4)), apart


def _contrast(colours: NDArray[np.float32]) -> float:
    low, high = np.quantile(colours[:, 0], (0.2, 0.8))
    return float(high - low) + LEAST_CONTRAST
