"""Photos drawn for the tests of the judge: textured things on plain or busy grounds, from a seed."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from schemas.ids import stream
from schemas.records import Photo, Pixels

PRODUCTS = Path(__file__).parents[3] / "../shared/data/products"


def product_photo(name: str) -> Photo:
    """Return a real product photo ("candle/01.jpg") at 512 px, or skip the test loudly."""
    path = PRODUCTS / name
    if not path.exists():
        pytest.skip(f"REAL PHOTOS MISSING: no {path}")
    with Image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    scale = 512 / max(pixels.shape[:2])
    return Photo(name, np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)))


def texture(seed: int, side: int = 400) -> Pixels:
    """Return a surface full of shapes: rings, bars and dots in a few colours."""
    random = stream(seed, "texture")
    surface = np.full((side, side, 3), random.integers(60, 200, 3), dtype=np.uint8)
    for _ in range(160):
        centre = tuple(int(v) for v in random.integers(0, side, 2))
        other = tuple(int(v) for v in random.integers(0, side, 2))
        colour = tuple(int(v) for v in random.integers(0, 256, 3))
        match int(random.integers(3)):
            case 0:
                cv2.circle(surface, centre, int(random.integers(4, 26)), colour, int(random.integers(1, 5)))
            case 1:
                corner = (centre[0] + (other[0] - centre[0]) // 8, centre[1] + (other[1] - centre[1]) // 8)
                cv2.rectangle(surface, centre, corner, colour, -1)
            case _:
                cv2.circle(surface, centre, int(random.integers(3, 10)), colour, -1)
    return surface


def placed(surface: Pixels, affine: np.ndarray, side: int = 512, ground: int = 128) -> Pixels:
    """Return a photo (side, side) of a surface moved by a 2x3 affine map onto a plain grey ground."""
    canvas = np.full((side, side, 3), ground, dtype=np.uint8)
    moved = cv2.warpAffine(surface, affine, (side, side), flags=cv2.INTER_AREA)
    where = cv2.warpAffine(np.full(surface.shape[:2], 255, dtype=np.uint8), affine, (side, side))
    canvas[where > 127] = moved[where > 127]
    return canvas


def turned(degrees: float, scale: float, side: int = 400, size: int = 512) -> np.ndarray:
    """Return the affine map (2, 3) that turns and scales a surface about its middle, into the photo's middle."""
    affine = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), degrees, scale), dtype=np.float64)
    affine[:, 2] += size / 2 - side / 2
    return affine
