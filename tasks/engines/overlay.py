"""Are two photos one picture? One is laid over the other, and what lies over each other is compared block by block.

Two photos of one product from nearly the same place are not: laid over each other, the thing and what is behind it do
not both fit. A picture that was compressed, resized, recoloured, cropped, mirrored, turned or marked does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Photo
from tasks.engines.once import once_a_photo

SEEN_AT = 256  # px on the longer side
KEYPOINTS = 400
CONTRAST = 0.02  # from which SIFT takes a keypoint: half its own, since plain products on plain ground have few
RATIO = 0.85  # of the distances to the nearest and the second nearest descriptor (Lowe's)
FEWEST = 6  # matches that must agree
REACH = 3.0  # px within which they agree
SCALES = 0.2, 5.0  # of one picture in the other
BLOCK = 16  # px
FLAT = 3.0  # levels: a block whose standard deviation is less shows nothing
FEWEST_SHOWN = 8  # blocks
FITS, EXACTLY, CONTRADICTS = 0.95, 0.98, 0.3  # correlation of two blocks

Levels = NDArray[np.float32]  # (H, W)
Points = NDArray[np.float32]  # (N, 2) px
Descriptors = NDArray[np.float32]  # (N, 128), unit length
Way = NDArray[np.float64]  # (2, 3): maps px of one picture to px of another


@dataclass(frozen=True)
class Sketch:
    """A photo as it is compared: small, as grey levels, with its local features and those of its mirror image."""

    levels: Levels
    points: Points
    descriptors: Descriptors
    mirrored: Descriptors


@dataclass(frozen=True)
class Overlay:
    """How two photos lie over each other.

    `overlap` is the share (0..1) of the smaller picture that lies over the other. Of the blocks where both show
    something there, `alike` is the share that fits, `exact` the share that fits as only one picture does, `unlike` the
    share that contradicts: something else is seen.
    """

    overlap: float
    alike: float
    exact: float
    unlike: float


def overlay(one: Photo, other: Photo, form: int) -> Overlay:
    """Return how one photo lies over another where they fit best.

    Tried are the whole frame, in the form (of `tasks.engines.phash.FORMS`) that their hashes suggest, and what most
    of their local features agree on, as they are and mirrored. Contrast and brightness do not count, block by block.
    """
    first, second = _sketch_once(one), _sketch_once(other)
    found = [_compare(first.levels, second.levels, way) for way in _ways(first, second, form)]
    return max(found, key=lambda laid: (laid.alike + laid.exact - laid.unlike) * laid.overlap)


def _sketch(photo: Photo) -> Sketch:
    grey = cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY)
    scale = SEEN_AT / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found, described = cv2.SIFT.create(nfeatures=KEYPOINTS, contrastThreshold=CONTRAST).detectAndCompute(small, None)
    points = np.array([keypoint.pt for keypoint in found], np.float32).reshape(-1, 2)
    raw = np.zeros((0, 128), np.float32) if described is None else described.astype(np.float32)
    descriptors = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6))  # Hellinger's kernel
    # a mirror image has the same keypoints, the histograms' rows in the other order and their angles the other way
    cells = descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8]
    levels = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.0)
    return Sketch(np.asarray(levels, np.float32), points, descriptors, cells.reshape(-1, 128))


_sketch_once = once_a_photo(_sketch)


def _ways(first: Sketch, second: Sketch, form: int) -> Iterator[Way]:
    """Propose ways to lay the first picture over the second."""
    yield _whole_frame(first.levels.shape, second.levels.shape, form)
    for descriptors, mirrored in ((first.descriptors, False), (first.mirrored, True)):
        pairs = _matches(descriptors, second.descriptors)
        if len(pairs) < FEWEST:
            continue
        source, target = first.points[pairs[:, 0]], second.points[pairs[:, 1]]
        mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        way, agree = cv2.estimateAffinePartial2D(
            source * mirror.diagonal()[:2].astype(np.float32), target, ransacReprojThreshold=REACH, maxIters=1000
        )
        if way is not None and int(agree.sum()) >= FEWEST and SCALES[0] < _scale(way) < SCALES[1]:
            yield np.asarray(way @ mirror)


def _scale(way: NDArray[Any]) -> float:
    return float(np.sqrt(abs(np.linalg.det(way[:, :2]))))


def _matches(first: Descriptors, second: Descriptors) -> NDArray[np.intp]:
    """Return the rows (M, 2) of descriptors that are each other's nearest, and nearer than the second nearest."""
    if min(len(first), len(second)) < 2:
        return np.zeros((0, 2), np.intp)
    cosine = first @ second.T  # (N, M)
    rows, nearest = np.arange(len(first)), cosine.argmax(axis=1)
    mutual = cosine.argmax(axis=0)[nearest] == rows
    best = cosine[rows, nearest]
    cosine[rows, nearest] = -1
    sure = 1 - best < RATIO**2 * (1 - cosine.max(axis=1))  # squared distances
    chosen = np.flatnonzero(mutual & sure)
    return np.column_stack([chosen, nearest[chosen]])


def _whole_frame(first: tuple[int, ...], second: tuple[int, ...], form: int) -> Way:
    """Return the way that lays a form of the whole first picture over the whole second one."""
    (height, width), (high, wide) = first, second
    way = np.diag([1 / width, 1 / height, 1.0])
    for bit, turn in enumerate(([[-1, 0, 1], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, -1, 1], [0, 0, 1]],
                                [[0, 1, 0], [1, 0, 0], [0, 0, 1]])):  # fmt: skip
        way = np.array(turn) @ way if form >> bit & 1 else way
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # a pixel's centre lies half a pixel in
    return np.asarray((np.linalg.inv(centre) @ np.diag([wide, high, 1.0]) @ way @ centre)[:2])


def _compare(first: Levels, second: Levels, way: Way) -> Overlay:
    """Lay the first picture over the second, or the second over the first, and compare what lies over each other.

    Whichever is laid is made smaller, not larger: it would be blurred beside the other.
    """
    if _scale(way) > 1:
        first, second, way = second, first, np.asarray(cv2.invertAffineTransform(way), np.float64)
    size = second.shape[::-1]
    laid = cv2.warpAffine(first, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(first), way, size, flags=cv2.INTER_NEAREST) > 0
    smaller = min(_scale(way) ** 2 * first.size, second.size)
    overlap = min(1.0, float(inside.sum()) / smaller)
    whole = _blocks(inside.astype(np.float32)).all(axis=1)
    here, there = (
        blocks - blocks.mean(axis=1, keepdims=True) for blocks in (_blocks(laid)[whole], _blocks(second)[whole])
    )
    spread = np.sqrt([(here**2).mean(axis=1), (there**2).mean(axis=1)]).reshape(2, -1)
    both = (spread.max(axis=0) > FLAT) & (spread.min(axis=0) > FLAT / 2)
    count = int(both.sum())
    if count < max(FEWEST_SHOWN, int((spread.max(axis=0) > FLAT).sum()) / 2):  # too little to go by
        return Overlay(overlap, alike=0.0, exact=0.0, unlike=0.0)
    correlation = (here * there).mean(axis=1)[both] / (spread[0] * spread[1])[both]
    shares = [float((correlation > least).mean()) for least in (FITS, EXACTLY, CONTRADICTS)]
    return Overlay(overlap, alike=shares[0], exact=shares[1], unlike=1 - shares[2])


def _blocks(plane: NDArray[Any]) -> Levels:
    """Return a plane cut into blocks (N, BLOCK * BLOCK); what is left over at the right and below is left out."""
    high, wide = (side // BLOCK for side in plane.shape)
    cut = plane[: high * BLOCK, : wide * BLOCK].reshape(high, BLOCK, wide, BLOCK)
    return np.asarray(cut.transpose(0, 2, 1, 3).reshape(high * wide, BLOCK * BLOCK), np.float32)
