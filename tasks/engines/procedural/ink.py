"""Ink: what is printed on a surface, told apart from the surface.

A printed region is taken as surface + matte * tint: how it would look unprinted, how much ink covers each pixel, and
how the ink's colour differs from the surface's. Moving matte and tint moves the print and leaves the surface, its
shading and its grain in place.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Refusal
from tasks.engines.procedural.blend import grain, noise
from tasks.engines.procedural.fields import fill, grid
from tasks.engines.procedural.region import Colours, Plane, Region, single

LEAST_CONTRAST = 9.0  # Lab units between ink and surface
LEAST_COVER, MOST_COVER = 0.02, 0.8  # shares of the region
LEAST_PLAIN = 0.6  # of a label: with less of it bare, it is a picture as a whole
MOST_ERROR = 0.06  # of the range 0..1, on average: beyond, it is no print of one ink a place but a picture


@dataclass(frozen=True)
class Ink:
    """A region's print: `surface`, `matte` and `tint` as above; `tint` is extended beyond the ink.

    `centre` (x, y), `size` (along, across; pixels) and `angle` (radians, of the reading direction against the x axis)
    frame the print; `stroke` is the strokes' width, `edge` the deviation of the Gaussian that softens their edges.
    A `picture` is a print of many colours: its matte is its outline, filled.
    """

    surface: Colours
    matte: Plane
    tint: Colours
    centre: tuple[float, float]
    size: tuple[float, float]
    angle: float
    stroke: float
    edge: float
    picture: bool


def find_ink(region: Region, rng: np.random.Generator) -> Ink:
    """Tell the print from the surface. Raises Refusal when the region bears none, or nothing but."""
    printed = _printed(region)
    label = _label(printed, region)
    if label is not None and (written := _printed(label)).sum() > LEAST_COVER * label.inside.sum():
        region, printed = label, written
    cover = float(printed.sum() / region.inside.sum())
    if not LEAST_COVER <= cover <= MOST_COVER:
        raise Refusal("no-ink", f"{cover:.0%} of the region stands out from its surface", cover=cover)
    beyond = ~region.inside & (label is region)  # what lies beyond a label says nothing about the label
    bare, matte, tint = _separate(region, printed, beyond)
    picture = bool(np.abs(bare + matte[..., None] * tint - region.pixels)[printed].mean() > MOST_ERROR)
    if picture:
        printed = _filled(printed)
        bare, *_ = _separate(region, printed, beyond)
        tint = fill(region.pixels - bare, printed.astype(np.float32))
        matte = cv2.GaussianBlur(printed.astype(np.float32), (0, 0), 0.8).astype(np.float32)
    slope = outline(matte)
    # The steepest slope of an edge softened by a Gaussian of deviation e is 1 / (e sqrt(2 pi)).
    edge = 1 / (np.sqrt(2 * np.pi) * max(float(np.quantile(slope[_around(printed)], 0.95)), 0.13))
    grainy = bare + noise(region.shape, grain(region.pixels), rng)
    surface = np.where((_around(printed) & (region.depth > 0))[..., None], grainy, region.pixels).astype(np.float32)
    centre, size, angle = _frame(printed)
    return Ink(surface, matte, tint, centre, size, angle, max(stroke_width(matte), 1.0), edge, picture)


def _separate(region: Region, printed: Mask, beyond: Mask) -> tuple[Colours, Plane, Colours]:
    """Return the bare surface, the matte and the tint of a print, taken to be of one ink at each place."""
    near = _around(printed)
    bare = fill(region.pixels, (~near & ~beyond).astype(np.float32))
    difference = region.pixels - bare
    strength = np.linalg.norm(difference, axis=-1)
    full = printed & (strength >= 0.75 * cv2.dilate(strength, np.ones((9, 9), np.uint8)))  # strokes' cores, not edges
    tint = fill(difference, full.astype(np.float32))
    share = (difference * tint).sum(-1) / np.maximum((tint * tint).sum(-1), 1e-3)
    return bare, np.where(near & (region.depth > 0), np.clip(share, 0, 1), 0).astype(np.float32), tint


def _around(printed: Mask) -> Mask:
    """Return the mask widened by the softness of a print's edges."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    wider: Mask = cv2.dilate(printed.astype(np.uint8), disc) > 0
    return wider


def _filled(printed: Mask) -> Mask:
    """Return the mask with its gaps closed and its holes filled: a picture of many colours is one piece."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(printed.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(closed, outlines, -1, 1, cv2.FILLED).astype(bool)


def outline(matte: Plane) -> Plane:
    """Return the gradient's length a pixel (h, w); its sum is the length of the matte's outline."""
    return np.hypot(cv2.Sobel(matte, -1, 1, 0, scale=1 / 8), cv2.Sobel(matte, -1, 0, 1, scale=1 / 8)).astype(np.float32)


def stroke_width(matte: Plane) -> float:
    """Return the mean width of a matte's strokes in pixels: twice their area by the length of their outline."""
    return 2 * float(matte.sum()) / max(float(outline(matte).sum()), 1e-3)


def _printed(region: Region) -> Mask:
    """Return where ink is: pieces of high contrast within the region, with the fainter ink joined to or amid them."""
    contrast = _contrast(region)
    threshold = max(LEAST_CONTRAST, _otsu(contrast[region.inside]))
    strong = _pieces(contrast > threshold, region, contrast > threshold)
    strong |= _pieces(contrast > max(LEAST_CONTRAST, 0.5 * threshold), region, strong)
    amid: Mask = _filled(strong) & (contrast > LEAST_CONTRAST) & region.inside
    return strong | amid


def _pieces(candidates: Mask, region: Region, core: Mask) -> Mask:
    """Return the connected pieces that lie within the region and hold more than specks of `core`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8), connectivity=8)
    within = np.bincount(labels[region.inside], minlength=count)
    kept = (within >= 0.8 * stats[:, cv2.CC_STAT_AREA]) & (np.bincount(labels[core], minlength=count) >= 5)
    kept[0] = False
    pieces: Mask = kept[labels] & region.inside
    return pieces


def _contrast(region: Region) -> Plane:
    """Return each pixel's Lab distance to a smooth model of the surface: a quadratic, fitted without the outliers."""
    colours = region.lab
    x, y = grid(region.shape)
    x, y = 2 * x / region.shape[1] - 1, 2 * y / region.shape[0] - 1
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    inside = np.flatnonzero(region.inside)
    inside = inside[:: max(1, len(inside) // 3000)]
    design, samples = terms.reshape(-1, 6)[inside], colours.reshape(-1, 3)[inside]
    # The surface is what the region's border mostly shows: a print lies within its region.
    rim = region.depth.reshape(-1)[inside] < max(2.0, 0.2 * region.reach)
    distance = np.linalg.norm(samples - _mode(samples[rim]), axis=-1)
    model = np.zeros((6, 3), np.float32)
    for degrees in (1, 3, 6, 6, 6):  # a constant, then a plane, then a quadratic
        surface = distance < max(LEAST_CONTRAST, _otsu(distance))
        model[:degrees] = np.linalg.lstsq(design[surface, :degrees], samples[surface], rcond=None)[0]
        distance = np.linalg.norm(samples - design @ model, axis=-1)
    return single(np.linalg.norm(colours - terms @ model, axis=-1))


def _mode(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sample with the most others within 8 Lab units, as a mean of those."""
    few = samples[:: max(1, len(samples) // 300)]
    alike = np.linalg.norm(few[:, None] - few[None], axis=-1) < 8
    return single(few[alike[alike.sum(1).argmax()]].mean(0))


def _otsu(distance: NDArray[np.float32]) -> float:
    """Return Otsu's threshold of distances (0..85 are told apart)."""
    scaled = np.clip(distance * 3, 0, 255).astype(np.uint8).reshape(1, -1)
    return float(cv2.threshold(scaled, 0, 255, cv2.THRESH_OTSU)[0]) / 3


def _label(printed: Mask, region: Region) -> Region | None:
    """Return the label that the print is on, if what stands out is one large solid piece: it is a surface itself."""
    outlines, _ = cv2.findContours(printed.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    largest = max(outlines, key=cv2.contourArea)
    area = cv2.contourArea(largest)
    if area < 0.85 * cv2.contourArea(cv2.convexHull(largest)) or area < 0.35 * region.inside.sum():
        return None
    piece = cv2.drawContours(np.zeros(region.shape, np.uint8), [largest], -1, 1, cv2.FILLED)
    piece = cv2.erode(piece, np.ones((3, 3), np.uint8))
    depth = cv2.distanceTransform(piece, cv2.DIST_L2, 5).astype(np.float32)
    label = replace(region, inside=piece.astype(bool), depth=depth)
    if label.reach < 4 or (_contrast(label) < LEAST_CONTRAST)[label.inside].mean() < LEAST_PLAIN:
        return None
    return label


def _frame(printed: Mask) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Return centre (x, y), (length, height) and angle of the print's box along its reading direction.

    The direction is the one across which the ink's profile is the most concentrated, as lines of text are; level is
    preferred, and steep only for prints much taller than wide.
    """
    rows, columns = np.nonzero(printed)
    every = max(1, len(rows) // 2000)
    tall = np.ptp(rows) > 2.5 * np.ptp(columns)
    angles = np.radians(np.arange(-90, 90, 3) if tall else np.arange(-45, 46, 3))
    scores = []
    for angle in angles:
        across = rows[::every] * np.cos(angle) - columns[::every] * np.sin(angle)
        profile, edges = np.histogram(across, bins=40)
        scores.append(float((profile**2.0).sum() / (edges[1] - edges[0])) * (1 - 0.25 * abs(angle)))
    angle = float(angles[int(np.argmax(scores))])
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = columns * cos + rows * sin, rows * cos - columns * sin
    middle, level = (along.min() + along.max()) / 2, (across.min() + across.max()) / 2
    centre = (float(cos * middle - sin * level), float(sin * middle + cos * level))
    return centre, (float(np.ptp(along)) + 1, float(np.ptp(across)) + 1), angle
