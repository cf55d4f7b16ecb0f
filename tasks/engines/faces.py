"""Finds faces that look at the viewer, by an honest rule: two dark round eyes alike, and a dark nose below between.

No weights for a face detector can be had without a download, so this is geometry. It is strict: a face from the side,
with closed eyes or in the dark is missed; plush animals, dogs and drawn figures pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, radians, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Pixels

LONGEST = 320  # px: the rule looks at the photo at this size
SCALES = (2.0, 2.6, 3.4, 4.4, 5.7, 7.4, 9.6)  # px: of the dark spots; a disc of radius r answers most at r / sqrt(2)
LEAST_DARK = 10.0  # scale-normalised Laplacian of L* (0..100): 10 is a spot that is plainly seen
LEAST_ROUND = 0.4  # ratio of the second derivatives along and across
SPOTS = 120  # strongest, looked at
LEAST_DARK_EYE = 20.0  # of each eye
NARROWEST = 14.0  # px between the eyes: the face then covers 1% of the photo
STEEPEST = radians(40)  # of the line between the eyes
LEAST_SCORE = 0.6  # with a round nose
LEAST_SCORE_MOUTH = 1.4  # with a long dark mouth in its place
MOST_OTHERS = 4  # spots as dark as the eyes elsewhere in the face: more, and it is a heap of berries

# Print has hard edges and plain areas between them, faces have neither much: shares of the face, by gradient of L* a px
HARD, MOST_HARD = 8.0, 0.43
PLAIN, MOST_PLAIN = 0.3, 0.12

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Spot:
    """A dark round spot: place in px of the reduced photo, scale in px, how dark and how round (0..1)."""

    x: float
    y: float
    scale: float
    dark: float
    round: float


@dataclass(frozen=True)
class Face:
    """A face: centre and half axes relative to the photo's longer side, tilt in radians clockwise, and its score."""

    x: float
    y: float
    half_width: float
    half_height: float
    tilt: float
    score: float
    symmetry: float
    likeness: float


def find_faces(pixels: Pixels, on_object: Plane) -> list[Face]:
    """Return the faces in a photo, best first, none overlapping; `on_object` (H, W) says where the product is, 0..1.

    The score grows with how dark the eyes are, how alike (mirrored), and how symmetric the face is.
    """
    factor = LONGEST / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    light = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[:, :, 0].astype(np.float32) * (100 / 255)
    likely = cv2.resize(on_object, (light.shape[1], light.shape[0]), interpolation=cv2.INTER_AREA)
    spots = [spot for spot in _dark_spots(light) if likely[int(spot.y), int(spot.x)] > 0.3]
    found: list[Face] = []
    for face in sorted(_faces(light, spots), key=lambda face: -face.score):
        if not _printed(light, face) and all(
            hypot(face.x - other.x, face.y - other.y) > face.half_width + other.half_width for other in found
        ):
            found.append(face)
    return found


def _dark_spots(light: Plane) -> list[Spot]:
    """Return the extrema of the scale-normalised Laplacian over place and scale (Lindeberg 1998), darkest first."""
    blurred = [cv2.GaussianBlur(light, (0, 0), scale) for scale in SCALES]
    second = [[cv2.Sobel(plane, cv2.CV_32F, *order) for order in ((2, 0), (0, 2), (1, 1))] for plane in blurred]
    # Sobel's 3x3 second derivative sums to 4 times the derivative across, its mixed one to 4 times as well
    answers = [(xx + yy) / 4 * scale**2 for (xx, yy, _), scale in zip(second, SCALES, strict=True)]
    peaks = [cv2.dilate(answer, np.ones((5, 5), np.uint8)) for answer in answers]
    spots = []
    for level, (scale, answer) in enumerate(zip(SCALES, answers, strict=True)):
        highest = np.maximum.reduce(peaks[max(0, level - 1) : level + 2])
        for y, x in zip(*np.nonzero((answer >= highest) & (answer > LEAST_DARK)), strict=True):
            xx, yy, xy = (float(plane[y, x]) for plane in second[level])
            spread = hypot(xx - yy, 2 * xy)
            spots.append(
                Spot(float(x), float(y), scale, float(answer[y, x]), (xx + yy - spread) / (xx + yy + spread + 1e-9))
            )
    return sorted(spots, key=lambda spot: -spot.dark)[:SPOTS]


def _faces(light: Plane, spots: list[Spot]) -> Iterator[Face]:
    eyes = [spot for spot in spots if spot.round > LEAST_ROUND and spot.dark > LEAST_DARK_EYE]
    for left in eyes:
        for right in eyes:
            width, tilt = hypot(right.x - left.x, right.y - left.y), atan2(right.y - left.y, right.x - left.x)
            large, little = max(left.scale, right.scale), min(left.scale, right.scale)
            apart = width / (1.41 * large)  # in eye radii
            if width < NARROWEST or abs(tilt) > STEEPEST or large > 1.7 * little or not 2.6 < apart < 11:
                continue
            noses = [nose for nose in spots if nose.scale >= 0.8 * little and _is_nose(left, right, nose)]
            if noses:
                nose = max(noses, key=lambda nose: (nose.round > LEAST_ROUND, nose.dark))
                face = _face(light, left, right, nose, spots)
                if face.score >= (LEAST_SCORE if nose.round > LEAST_ROUND else LEAST_SCORE_MOUTH):
                    yield face


def _in_face(left: Spot, right: Spot, spot: Spot) -> tuple[float, float]:
    """Return where a spot lies from the middle between the eyes: (along, down), in distances between the eyes."""
    dx, dy = right.x - left.x, right.y - left.y
    x, y = spot.x - (left.x + right.x) / 2, spot.y - (left.y + right.y) / 2
    squared = dx * dx + dy * dy
    return (x * dx + y * dy) / squared, (y * dx - x * dy) / squared


def _is_nose(left: Spot, right: Spot, spot: Spot) -> bool:
    along, down = _in_face(left, right, spot)
    return abs(along) < 0.28 and 0.35 < down < 1.15


def _face(light: Plane, left: Spot, right: Spot, nose: Spot, spots: list[Spot]) -> Face:
    width, tilt = hypot(right.x - left.x, right.y - left.y), atan2(right.y - left.y, right.x - left.x)
    _, down = _in_face(left, right, nose)
    x = (left.x + right.x) / 2 - sin(tilt) * down * width / 2
    y = (left.y + right.y) / 2 + cos(tilt) * down * width / 2
    whole = _upright(light, x, y, tilt, 2.6 * width)
    one, other = (_upright(light, eye.x, eye.y, tilt, 4 * max(left.scale, right.scale)) for eye in (left, right))
    symmetry, likeness = _correlation(whole, whole[:, ::-1]), _correlation(one, other[:, ::-1])
    dark = min(left.dark, right.dark)
    others = sum(
        spot.round > LEAST_ROUND
        and spot.dark > 0.7 * dark
        and hypot(spot.x - x, spot.y - y) < 1.5 * width
        and all(hypot(spot.x - part.x, spot.y - part.y) > 0.45 * width for part in (left, right, nose))
        for spot in spots
    )
    score = 0.0 if others > MOST_OTHERS else dark / 25 * (0.3 + max(symmetry, 0.0)) * (0.3 + max(likeness, 0.0))
    longest = max(light.shape)
    return Face(
        x=x / longest,
        y=y / longest,
        half_width=1.15 * width / longest,
        half_height=(0.75 + 0.5 * down) * width / longest,
        tilt=tilt,
        score=score,
        symmetry=symmetry,
        likeness=likeness,
    )


def _printed(light: Plane, face: Face) -> bool:
    """Tell whether a face is of print: two letters, a flower and a chequered cloth have eyes by the rule above."""
    longest = max(light.shape)
    within = np.zeros(light.shape, dtype=np.uint8)
    centre, axes = (face.x * longest, face.y * longest), (2 * face.half_width * longest, 2 * face.half_height * longest)
    cv2.ellipse(within, (centre, axes, degrees(face.tilt)), (1,), cv2.FILLED)
    across, down = (cv2.Sobel(light, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    step = np.hypot(across, down)[within > 0]
    return bool((step > HARD).mean() > MOST_HARD or (step < PLAIN).mean() > MOST_PLAIN)


def _upright(light: Plane, x: float, y: float, tilt: float, span: float) -> Plane:
    """Return a 48 px square patch about (x, y), `span` px wide in the photo, turned so that the eyes lie level."""
    scale = 48 / span
    turn = np.array([[cos(tilt), sin(tilt)], [-sin(tilt), cos(tilt)]]) * scale
    shift = np.array([24.0, 24.0]) - turn @ np.array([x, y])
    patch = cv2.warpAffine(light, np.column_stack([turn, shift]), (48, 48), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(patch, dtype=np.float32)


def _correlation(one: Plane, other: Plane) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / (np.sqrt((one**2).sum() * (other**2).sum()) + 1e-6))
