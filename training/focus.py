"""Crops: where a picture is looked at so that the masked region is seen well. Pure geometry, and the resampling.

A crop is a box of pixels of one aspect. Input, target and mask share one; the reference has its own, at about the same
scale of the thing shown. Nothing is mirrored: instructions say left and right, and letters would read backwards.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels

ZOOM = 2.0  # a crop is enlarged to at most this, however small the mask is: more adds no detail


@dataclass(frozen=True)
class Box:
    """A box of a picture in px: left, top, width, height; it may stick out of the picture."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Return the middle (x, y)."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True)
class Place:
    """Where a reference shows the masked region, relative to its width and height.

    Not `found`: what matches does not say, and it is the whole product's box. `turn` [a, b, x, c, d, y] takes relative
    places of the draft about the region to those of the reference, (a u + b v + x, c u + d v + y); None: not known.
    """

    left: float
    top: float
    right: float
    bottom: float
    found: bool
    turn: tuple[float, ...] | None = None

    def box(self, width: int, height: int) -> Box:
        """Return the place in px of a picture, at least one px large."""
        sides = max(1.0, (self.right - self.left) * width), max(1.0, (self.bottom - self.top) * height)
        return Box(self.left * width, self.top * height, *sides)


def around(mask: Mask) -> Box | None:
    """Return the least box that holds all of a mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def whole(width: int, height: int, aspect: float) -> Box:
    """Return the largest box of an aspect (width / height) within a picture, in its middle."""
    side = min(width / aspect, height)
    return _about((width / 2, height / 2), side * aspect, side)


def all_of(width: int, height: int, aspect: float) -> Box:
    """Return the least box of an aspect that holds all of a picture: it sticks out on two sides."""
    side = max(width / aspect, height)
    return _about((width / 2, height / 2), side * aspect, side)


def focus(thing: Box, size: tuple[int, int], crop: tuple[int, int], margin: float, shift: tuple[float, float]) -> Box:
    """Return the box of a picture that shows a thing; `size` is the picture's (width, height), `crop` what it becomes.

    `margin` is added on each side, as a share of the thing's longer side. Of the room that this leaves, `shift` (x and
    y in -1..1) takes half at most, so that the thing is not always in the middle. Never larger than the picture.
    """
    border, aspect = margin * max(thing.width, thing.height), crop[0] / crop[1]
    height = max(thing.height + 2 * border, (thing.width + 2 * border) / aspect, crop[1] / ZOOM)
    height = min(height, size[1], size[0] / aspect)
    width = height * aspect
    x, y = thing.centre
    x += shift[0] * max(0.0, width - thing.width) / 4
    y += shift[1] * max(0.0, height - thing.height) / 4
    return _within(_about((x, y), width, height), size)


def alongside(crop: Box, thing: Box, place: Box, size: tuple[int, int]) -> Box:
    """Return the box of a reference of `size` (width, height) that shows `place` as large as `crop` shows the thing.

    A place that is turned or foreshortened is still seen whole.
    """
    scale = sqrt((place.width * place.height) / (thing.width * thing.height))
    return _beside(place, max(crop.width * scale, place.width), max(crop.height * scale, place.height), crop, size)


def holding(place: Box, crop: Box, size: tuple[int, int]) -> Box:
    """Return the least box of the crop's aspect that holds a place of a reference of `size` (width, height)."""
    return _beside(place, place.width, place.height, crop, size)


def _beside(place: Box, width: float, height: float, crop: Box, size: tuple[int, int]) -> Box:
    """Return a box about a place, so wide and high or more, within the picture if the place can be seen whole there."""
    aspect = crop.width / crop.height
    needed = max(place.height, place.width / aspect)
    height = min(max(height, width / aspect), max(whole(*size, aspect).height, needed))
    return _within(_about(place.centre, height * aspect, height), size)


def cut(picture: Pixels, box: Box, size: tuple[int, int]) -> Pixels:
    """Return what a box shows of a picture (H, W, 3), brought to `size` (width, height).

    Beyond its edges the picture goes on as it ends.
    """
    part = _part(picture, box)
    if part.shape[1::-1] == size:
        return part
    smaller = part.shape[0] > size[1]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), np.uint8)


def beside(
    reference: Pixels, place: Place | None, crop: Box, thing: Box | None, draft: tuple[int, int], size: tuple[int, int],
    aligned: bool,
) -> Pixels:  # fmt: skip
    """Return what of a reference (H, W, 3) is seen beside a crop of a draft of `draft` (width, height).

    All of it where no place is known; what shows the thing in the draft as large as the crop does; or, if it is to be
    `aligned` and the place's turn is known, what the crop would show of it. Brought to `size` (width, height).
    """
    there = reference.shape[1], reference.shape[0]
    if place is None:
        return cut(reference, all_of(*there, size[0] / size[1]), size)
    if aligned and place.turn is not None:
        return turned(reference, place, crop, draft, size)
    if place.found and thing is not None:
        return cut(reference, alongside(crop, thing, place.box(*there), there), size)
    return cut(reference, holding(place.box(*there), crop, there), size)


def turned(picture: Pixels, place: Place, box: Box, draft: tuple[int, int], size: tuple[int, int]) -> Pixels:
    """Return a reference (H, W, 3) as seen from where a draft of `draft` (width, height) is: what its `box` shows.

    Brought to `size` (width, height); beyond its edges the reference goes on as it ends. Needs `place.turn`.
    """
    assert place.turn is not None
    a, b, x, c, d, y = place.turn
    height, width = picture.shape[:2]
    # px of the result -> px of the draft -> its relative coordinates -> those of the reference -> its px
    wide, high = (max(1, round(side)) for side in (box.width, box.height))  # as `cut` sees the box
    step = np.array([[wide / size[0], 0, round(box.left)], [0, high / size[1], round(box.top)], [0, 0, 1]])
    relative = np.diag([1 / draft[0], 1 / draft[1], 1.0])
    turn = np.array([[a, b, x], [c, d, y], [0, 0, 1]])
    back = np.diag([float(width), float(height), 1.0])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # a pixel's place is its middle
    there = np.linalg.inv(half) @ back @ turn @ relative @ step @ half
    reduction = float(np.sqrt(abs(np.linalg.det(there[:2, :2]))))
    if reduction > 1:  # else fine detail would alias
        sigma = 0.5 * np.sqrt(reduction**2 - 1)
        seen = _seen(there, size, (width, height), ceil(4 * sigma) + 2)  # as far as blur and interpolation reach
        picture = np.asarray(cv2.GaussianBlur(_part(picture, seen), (0, 0), sigma), np.uint8)
        there[:2, 2] -= seen.left, seen.top
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, there[:2], size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _seen(there: NDArray[np.float64], size: tuple[int, int], picture: tuple[int, int], reach: int) -> Box:
    """Return the box of a picture (width, height) that a result of `size` is made of; `there` (3, 3) takes px to px.

    `reach` is how many pixels about a place count for it.
    """
    corners = there @ [[0, size[0], 0, size[0]], [0, 0, size[1], size[1]], [1, 1, 1, 1]]  # (3, 4)
    ends = np.array([corners[:2].min(axis=1), corners[:2].max(axis=1)])  # (2, 2)
    first, last = np.clip(ends, 0, np.array(picture) - 1)  # beyond its edges the picture goes on as it ends
    left, top = np.maximum(np.floor(first).astype(int) - reach, 0)
    right, bottom = np.minimum(np.ceil(last).astype(int) + reach + 1, picture)
    return Box(int(left), int(top), int(right - left), int(bottom - top))


def cut_mask(mask: Mask, box: Box, size: tuple[int, int]) -> Mask:
    """Return what a box shows of a mask (H, W), brought to `size` (width, height).

    True wherever a pixel of `cut` takes anything of the mask: what is equal outside a mask stays so.
    """
    if (round(box.width), round(box.height)) == size:
        return _part(mask.view(np.uint8), box) > 0
    reached = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))  # as far as cubic interpolation does
    part = _part(np.asarray(reached, np.uint8), box).astype(np.float32)  # the least share counts: none is rounded off
    smaller = part.shape[0] > size[1]
    return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR) > 0)


def _part(picture: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    left, top = round(box.left), round(box.top)
    right, bottom = left + max(1, round(box.width)), top + max(1, round(box.height))
    inside = picture[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    beyond = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    if not any(beyond):
        return inside
    return np.asarray(cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REPLICATE), np.uint8)


def _about(centre: tuple[float, float], width: float, height: float) -> Box:
    return Box(centre[0] - width / 2, centre[1] - height / 2, width, height)


def _within(box: Box, size: tuple[int, int]) -> Box:
    """Move a box into a picture; along a side that it does not fit, to its middle."""

    def place(start: float, length: float, room: int) -> float:
        return (room - length) / 2 if length > room else min(max(start, 0.0), room - length)

    return Box(place(box.left, box.width, size[0]), place(box.top, box.height, size[1]), box.width, box.height)
