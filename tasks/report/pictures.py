"""A report's pictures: each photo once as a thumbnail, of each edit only the crop that it changed, and its outline."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.records import Mask, Pixels
from tasks.codecs import load_mask, load_photo
from tasks.lake import Lake
from tasks.ledger import Row

SIDE = 448  # px, the longer side of a thumbnail
SMALL_SIDE = 320  # px, where there are many
MANY = 500  # photos
QUALITY = 78
MARGIN = 4  # px around a mask: resizing spreads an edit that far
SIMPLER = 0.7  # px that an outline may be off

Asked = TypeVar("Asked")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Pictures:
    """Photos by digest and edits by quadruplet, as JSON for the page; all coordinates are thumbnail pixels."""

    photos: Mapping[str, dict[str, Any]]  # width, height, data: a WebP in base64
    edits: Mapping[str, dict[str, Any]]  # box: left, top, width, height; data; outline: a path in SVG
    regions: Mapping[str, str]  # of refused edits: where they were to be


def draw(lake: Lake, samples: Sequence[Row], examples: Sequence[Row], advance: Callable[[int], None]) -> Pictures:
    """Make the pictures of samples and of examples of refusals; `advance` is told of each that is done.

    Raises ArtifactError where one of the lake's files is missing or damaged.
    """
    digests = distinct_photos(samples, examples)
    side = SIDE if len(digests) <= MANY else SMALL_SIDE
    photos = dict(zip(digests, _each(lambda digest: _photo(lake, digest, side), digests, advance), strict=True))
    edits = _each(lambda row: _edit(lake, row, side), samples, advance)
    regions = {row["item_id"]: _region(row, photos) for row in examples if row["instruction"]}
    return Pictures(photos, dict(zip([row["quadruplet_id"] for row in samples], edits, strict=True)), regions)


def distinct_photos(samples: Sequence[Row], examples: Sequence[Row]) -> list[str]:
    """Return the digests of all photos that are shown."""
    sides = ("target_sha256", "reference_sha256")
    return sorted({row[side] for row in (*samples, *examples) for side in sides if row[side]})


def _each(make: Callable[[Asked], Made], asked: Iterable[Asked], advance: Callable[[int], None]) -> list[Made]:
    """Make all in order on a few threads: decoding, resizing and encoding let others run."""
    made = []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for one in pool.map(make, asked):
            made.append(one)
            advance(1)
    return made


def _photo(lake: Lake, digest: str, side: int) -> dict[str, Any]:
    small = _thumbnail(load_photo(lake, digest), side)
    return {"width": small.width, "height": small.height, "data": _webp(small)}


def _edit(lake: Lake, row: Row, side: int) -> dict[str, Any]:
    small = _thumbnail(load_photo(lake, row["input_sha256"]), side)
    mask = _shrunk(load_mask(lake, row["mask_sha256"]), small.size)
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    right, bottom = min(small.width, left + width + MARGIN), min(small.height, top + height + MARGIN)
    left, top = max(0, left - MARGIN), max(0, top - MARGIN)
    return {
        "box": [left, top, right - left, bottom - top],
        "data": _webp(small.crop((left, top, right, bottom))),
        "outline": outline(mask),
    }


def _region(row: Row, photos: Mapping[str, Mapping[str, Any]]) -> str:
    photo = photos[row["target_sha256"]]
    points = np.array(json.loads(row["instruction"])["region"]) * [photo["width"], photo["height"]]
    return _path([points.round().astype(int)])


def outline(mask: Mask) -> str:
    """Return the contours of (H, W) bool as the `d` of an SVG path, simplified, in whole pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _path([cv2.approxPolyDP(contour, SIMPLER, closed=True)[:, 0] for contour in contours])


def _path(polygons: Iterable[NDArray[Any]]) -> str:
    return "".join("M" + " ".join(f"{x},{y}" for x, y in polygon.tolist()) + "Z" for polygon in polygons)


def _thumbnail(pixels: Pixels, side: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _shrunk(mask: Mask, size: tuple[int, int]) -> Mask:
    """Shrink a mask; a pixel is in where any part of it was."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0)


def _webp(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return base64.b64encode(buffer.getvalue()).decode()
