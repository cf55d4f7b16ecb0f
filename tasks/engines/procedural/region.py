"""The part of the photo that an edit works on: a crop around the instructed polygon."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels, Polygon, Refusal

# Of float32; numpy's types lose the precision at the first sum, so the checker is told the kind of array only.
Plane = NDArray[Any]  # (h, w)
Colours = NDArray[Any]  # (h, w, 3)

MARGIN = 0.25  # of the region's longer side: the surroundings that an operation may learn from
LEAST_AREA = 100  # px: below, no operation has anything to work on
LEAST_REACH = 3.0  # px


@dataclass(frozen=True)
class Region:
    """A crop of the photo and where in it the polygon lies.

    `pixels` is RGB in 0..1; `depth` is each pixel's distance in pixels to the polygon's border, 0 outside.
    """

    pixels: Colours
    inside: Mask
    depth: Plane
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Return the crop's height and width in pixels."""
        return self.inside.shape

    @property
    def reach(self) -> float:
        """Return the radius in pixels of the largest disc within the region."""
        return float(self.depth.max())

    @property
    def lab(self) -> Colours:
        """Return the crop in CIE Lab: L in 0..100."""
        return lab(self.pixels)


def cut(pixels: Pixels, polygon: Polygon) -> Region:
    """Cut the crop around `polygon` (relative coordinates) out of a photo (H, W, 3).

    Raises Refusal when the polygon holds too few pixels to be edited.
    """
    height, width = pixels.shape[:2]
    corners = np.asarray(polygon, dtype=np.float64) * (width, height) - 0.5
    whole = np.zeros((height, width), np.uint8)
    cv2.fillPoly(whole, [np.round(corners).astype(np.int32)], 1)
    left, top, wide, high = cv2.boundingRect(whole)
    if int(whole.sum()) < LEAST_AREA:
        raise Refusal("region-too-small", f"the region holds {int(whole.sum())} pixels", pixels=int(whole.sum()))
    margin = round(4 + MARGIN * max(wide, high))
    rows = slice(max(top - margin, 0), min(top + high + margin, height))
    columns = slice(max(left - margin, 0), min(left + wide + margin, width))
    inside = whole[rows, columns]
    # The photo's own edge is a border too, also of a region that is the whole photo.
    depth = cv2.distanceTransform(cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)
    depth = depth[1:-1, 1:-1].astype(np.float32)
    if depth.max() < LEAST_REACH:
        raise Refusal("region-too-thin", f"the region is {2 * depth.max():.0f} pixels wide", reach=float(depth.max()))
    crop = pixels[rows, columns].astype(np.float32) / 255
    return Region(crop, inside.astype(bool), depth, rows, columns)


def lab(pixels: Colours) -> Colours:
    """Return RGB in 0..1 as CIE Lab (L in 0..100)."""
    return cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2Lab).astype(np.float32)


def rgb(colours: Colours) -> Colours:
    """Return CIE Lab as RGB clipped to 0..1."""
    return np.clip(cv2.cvtColor(colours.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1).astype(np.float32)


def single(values: Any) -> NDArray[np.float32]:
    """Return an array in single precision."""
    return np.asarray(values, dtype=np.float32)


def luma(pixels: Colours) -> Plane:
    """Return the luma (h, w) of RGB."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
