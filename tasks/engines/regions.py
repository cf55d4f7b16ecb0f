"""Proposes what to edit in the target: regions of the product that the reference shows, and what each of them is."""

from dataclasses import dataclass, field
from math import cos, pi, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category, Photo, Polygon
from tasks.engines.agree import lay_over
from tasks.engines.correspond import Correspondences, map_region, visible_share
from tasks.engines.faces import Face, find_faces
from tasks.engines.foreground import foreground_once
from tasks.engines.ocr import TextLine, text_once
from tasks.engines.once import once_a_photo
from tasks.engines.parts import BACKGROUND, CLASSES, likely_of, parts_once

LONGEST = 320  # px: regions are looked for in a photo of this size
SMALLEST, LARGEST = 0.0105, 0.29  # of the photo's area; the bars are 1% and 30%, rounding kept away
ON_OBJECT = 0.7  # mean foreground in a region
LEAST_DETAIL = 1.5  # mean gradient of L* per px: below, nobody would see the damage
LEAST_VISIBLE = 0.6  # share of a region that the reference shows
MOST_UNLIKE = 0.2  # share of its texture that looks otherwise there
MOST_SHARED = 0.2  # of the smaller of two regions
DETAIL_SHARES = (0.06, 0.14)  # of the object's area, that a piece of detail covers
NAMED = (Category.TEXT, Category.LOGO, Category.PATTERN, Category.FACE)
DETAILS = 6  # pieces of detail a photo, at most
CELL = 14  # px: spacing of the cells whose edges a region follows
SEEN, SURE = 0.5, 0.75  # probability of a category at each pixel of a piece, and over the piece
MOST_NAMED = 0.15  # mean probability, in a piece of detail, that it is text, logo, pattern or face
MOST_BACKGROUND = 0.4  # and that it is the ground seen through a handle
LEAST_DEPTH = 5.0  # px: half the width of a piece; a mere outline is nothing to edit
INK = 22.0  # Lab distance of a logo's colours from its ground
ONE_COLOUR = 0.75  # of a thing: then it is called by it

Plane = NDArray[np.float32]
Blob = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class Thing:
    """Something on the product in one photo that an edit could touch.

    `polygon` is relative; `text` what was read there; `noun` what to call it; `colour` its dominant colour's name, if
    it has one; `evidence` the figures behind the category.
    """

    category: Category
    polygon: Polygon
    noun: str
    colour: str | None = None
    text: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Region:
    """A thing of the target that the reference shows: which share of it, and where (None if that cannot be said)."""

    thing: Thing
    visible: float
    matches: int
    reference_polygon: Polygon | None


def propose(target: Photo, reference: Photo, correspondences: Correspondences) -> list[Region]:
    """Return the regions of `target` worth editing that `reference` shows, the rarest category first.

    Each covers 1% to 30% of the photo, lies on the product, bears detail, and overlaps no other by more than a fifth.
    """
    laid = lay_over(target, reference, correspondences)
    regions = []
    for thing in things_once(target):
        visible = visible_share(correspondences, thing.polygon)
        if visible >= LEAST_VISIBLE and laid.unlike_in(thing.polygon) <= MOST_UNLIKE:
            regions.append(
                Region(
                    thing=thing,
                    visible=visible,
                    matches=matches_within(correspondences, thing.polygon),
                    reference_polygon=map_region(correspondences, thing.polygon),
                )
            )
    return regions


def matches_within(c: Correspondences, region: Polygon) -> int:
    """Return how many inliers lie in a region of the target."""
    corners = np.asarray(region, dtype=np.float32)
    points = c.points_target[c.inlier]
    return sum(cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0 for x, y in points)


def _things(photo: Photo) -> list[Thing]:
    """Find the things in a photo: text, faces, logos, patterns, then pieces of detail where nothing else is."""
    height, width = photo.pixels.shape[:2]
    scale = LONGEST / max(height, width)
    size = (round(width * scale), round(height * scale))
    small = np.asarray(cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    lab = np.asarray(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)
    likely = foreground_once(photo)
    on_object = np.asarray(cv2.resize(likely, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    parts = parts_once(photo)
    likely_parts = {category: likely_of(parts, number, *size) for category, number in CLASSES.items()}
    background = likely_of(parts, BACKGROUND, *size, beyond=1)
    view = View(small, lab, on_object, detail_of(lab[:, :, 0]), likely_parts, background)
    kept: list[tuple[Thing, Blob]] = []
    for thing, blob in [
        *_texts(view, text_once(photo)),
        *_faces(view, find_faces(photo.pixels, likely)),
        *_logos(view),
        *_patterns(view),
        *_details(view),
    ]:
        if _worth(view, thing, blob) and all(_apart(blob, other) for _, other in kept):
            kept.append((thing, blob))
    return [thing for thing, _ in kept]


things_once = once_a_photo(_things)


@dataclass(frozen=True)
class View:
    """A reduced photo: RGB, L*a*b* float32, foreground 0..1, detail (mean gradient of L* per px about a pixel), and how
    likely each pixel is of each category and of the background, 0..1.
    """

    pixels: NDArray[np.uint8]
    lab: Plane
    on_object: Plane
    detail: Plane
    likely: dict[Category, Plane]
    background: Plane

    def any_of(self, *categories: Category) -> Plane:
        """Return how likely each pixel is of one of these categories, 0..1."""
        return np.asarray(sum(self.likely[category] for category in categories), dtype=np.float32)


def detail_of(light: Plane) -> Plane:
    """Return the gradient of L* per px, (H, W) float32, without a photo's grain."""
    smooth = cv2.GaussianBlur(light, (0, 0), 0.8)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    return np.asarray(np.hypot(across, down), dtype=np.float32)


def _worth(view: View, thing: Thing, blob: Blob) -> bool:
    share = blob.mean()
    if not SMALLEST <= share <= LARGEST:
        return False
    return bool(view.on_object[blob].mean() >= ON_OBJECT and view.detail[blob].mean() >= LEAST_DETAIL)


def _apart(one: Blob, other: Blob) -> bool:
    return bool((one & other).sum() <= MOST_SHARED * min(one.sum(), other.sum()))


def _texts(view: View, lines: list[TextLine]) -> list[tuple[Thing, Blob]]:
    """Lines that are large enough stand alone; smaller ones near each other make a block; then what cannot be read."""
    height, width = view.lab.shape[:2]
    found = []
    small: list[tuple[TextLine, Blob]] = []
    for line in lines:
        corners = np.asarray(line.polygon) * (width, height)
        blob = _filled(_grown(corners, 1.15), view)
        if blob.mean() >= SMALLEST:
            found.append((_text([line], blob), blob))
        else:
            small.append((line, blob))
    while small:
        block, blob = [small[0][0]], small[0][1]
        rest = []
        for line, other in small[1:]:
            reach = np.ones((9, 9), np.uint8)
            if (cv2.dilate(blob.astype(np.uint8), reach)[other] > 0).any():
                block.append(line)
                blob = blob | other
            else:
                rest.append((line, other))
        small = rest
        hull = cv2.convexHull(np.argwhere(blob)[:, ::-1].astype(np.float32))[:, 0]
        for growth in (1.0, 1.15, 1.3, 1.5, 1.75):
            blob = _filled(_grown(hull, growth), view)
            if blob.mean() >= SMALLEST:
                found.append((_text(block, blob), blob))
                break
    for blob in _pieces(view, Category.TEXT):
        lettering = _main_part(_rounded(blob, 3))
        if lettering.any():
            found.append(
                (
                    Thing(Category.TEXT, _polygon(lettering), "text", evidence=_sureness(view, Category.TEXT, blob)),
                    lettering,
                )
            )
    return found


def _text(block: list[TextLine], blob: Blob) -> Thing:
    block = sorted(block, key=lambda line: (round(np.mean([y for _, y in line.polygon]) * 20), line.polygon[0][0]))
    confidence = min(line.confidence for line in block)
    return Thing(
        category=Category.TEXT,
        polygon=_polygon(blob),
        noun="text",
        text=" ".join(line.text for line in block),
        evidence={"ocr_confidence": round(confidence, 3), "lines": len(block)},
    )


def _faces(view: View, faces: list[Face]) -> list[tuple[Thing, Blob]]:
    """Faces that the part finder sees, then those that the rule of eyes and nose finds."""
    found = []
    for blob in _pieces(view, Category.FACE):
        face = _main_part(_rounded(blob, 4))
        if face.any():
            found.append(
                (Thing(Category.FACE, _polygon(face), "face", evidence=_sureness(view, Category.FACE, blob)), face)
            )
    longest = max(view.lab.shape[:2])
    printed = view.any_of(Category.TEXT, Category.LOGO, Category.PATTERN)
    for ruled in faces:
        around = np.linspace(0, 2 * pi, 32, endpoint=False)
        upright = np.stack([ruled.half_width * np.cos(around), ruled.half_height * np.sin(around)], axis=1)
        turn = np.array([[cos(ruled.tilt), sin(ruled.tilt)], [-sin(ruled.tilt), cos(ruled.tilt)]])
        ellipse = (upright @ turn + (ruled.x, ruled.y)) * longest
        blob = _main_part(_filled(ellipse, view) & (view.on_object > 0.25))
        figures = {"face_score": ruled.score, "face_symmetry": ruled.symmetry, "eye_likeness": ruled.likeness}
        evidence = {name: round(figure, 3) for name, figure in figures.items()}
        if blob.any() and printed[blob].mean() <= MOST_NAMED:  # prints have eyes too, by that rule
            found.append((Thing(Category.FACE, _polygon(blob), "face", evidence=evidence), blob))
    return found


def _logos(view: View) -> list[tuple[Thing, Blob]]:
    found = []
    for piece in _pieces(view, Category.LOGO):
        blob = _main_part(_hull(piece))
        ground = np.median(view.lab[_dilated(blob, 7) & ~_dilated(blob, 2)], axis=0)
        ink = blob & (np.linalg.norm(view.lab - ground, axis=2) > INK)
        colour = colour_name(view.lab[ink]) if ink.any() else None
        found.append(
            (Thing(Category.LOGO, _polygon(blob), "logo", colour, evidence=_sureness(view, Category.LOGO, piece)), blob)
        )
    return found


def _patterns(view: View) -> list[tuple[Thing, Blob]]:
    found = []
    for piece in _pieces(view, Category.PATTERN):
        blob = _main_part(_rounded(piece, 3))
        if blob.any():
            colour, evidence = colour_name(view.lab[blob]), _sureness(view, Category.PATTERN, piece)
            found.append((Thing(Category.PATTERN, _polygon(blob), "pattern", colour, evidence=evidence), blob))
    return found


def _pieces(view: View, category: Category) -> list[Blob]:
    """Return the connected pieces that are surely of a category, the largest first."""
    likely = view.likely[category]
    count, labels, stats, _ = cv2.connectedComponentsWithStats((likely > SEEN).astype(np.uint8))
    order = sorted(range(1, count), key=lambda label: -int(stats[label, cv2.CC_STAT_AREA]))
    areas = stats[:, cv2.CC_STAT_AREA] / likely.size
    pieces = [labels == label for label in order if 0.7 * SMALLEST <= areas[label] <= LARGEST]
    return [piece for piece in pieces if likely[piece].mean() >= SURE and _depth(piece).max() >= LEAST_DEPTH]


def _sureness(view: View, category: Category, piece: Blob) -> dict[str, Any]:
    return {"likely": round(float(view.likely[category][piece].mean()), 3)}


def _details(view: View) -> list[tuple[Thing, Blob]]:
    """Parts of the product's make (a rim, a seam, a handle); then pieces about the peaks of detail, grown over cells of
    like colour, small ones between large, where nothing lies that has a name of its own.
    """
    found = []
    for piece in _pieces(view, Category.OBJECT_DETAIL):
        found += _detail(view, _main_part(_rounded(piece, 2)))
    cells = _cells(view)
    count = int(cells.max()) + 1
    area = np.maximum(np.bincount(cells.ravel(), minlength=count), 1)

    def mean(plane: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(cells.ravel(), plane.ravel().astype(np.float64), minlength=count) / area

    rows, columns = np.mgrid[: cells.shape[0], : cells.shape[1]]
    x, y, likely = mean(columns), mean(rows), mean(view.on_object)
    colour = np.stack([mean(view.lab[:, :, channel]) for channel in range(3)], axis=1)
    object_area = float((view.on_object > 0.5).sum())
    named = np.clip(view.any_of(*NAMED), 0, 1)
    for share in DETAIL_SHARES:
        wanted = float(np.clip(share * object_area, 1.6 * SMALLEST * cells.size, 0.5 * LARGEST * cells.size))
        radius = np.sqrt(wanted / pi)
        salience = cv2.GaussianBlur(view.detail * view.on_object**2 * (1 - named) ** 2, (0, 0), radius / 2)
        for _ in range(DETAILS):
            peak_y, peak_x = np.unravel_index(int(salience.argmax()), salience.shape)
            if salience[peak_y, peak_x] <= 0:
                break
            cv2.circle(salience, (int(peak_x), int(peak_y)), int(1.5 * radius), 0.0, -1)
            seed = cells[peak_y, peak_x]
            distance = ((x - peak_x) ** 2 + (y - peak_y) ** 2) / (1.25 * radius) ** 2
            unlike = ((colour - colour[seed]) ** 2).sum(axis=1) / 60**2
            cell = (distance + unlike < 1) & (likely > 0.6)
            found += _detail(view, _main_part(_rounded(cell[cells], max(2, int(radius / 4)))))
    return [
        (thing, blob)
        for thing, blob in found
        if named[blob].mean() <= MOST_NAMED and view.background[blob].mean() <= MOST_BACKGROUND
    ]


def _detail(view: View, blob: Blob) -> list[tuple[Thing, Blob]]:
    if not blob.any():
        return []
    inside = view.detail[blob]
    evidence = {"detail": round(float(inside.mean()), 2), "usual_detail": round(float(np.median(inside)), 2)}
    thing = Thing(Category.OBJECT_DETAIL, _polygon(blob), "detail", colour_name(view.lab[blob]), evidence=evidence)
    return [(thing, blob)]


def _cells(view: View) -> NDArray[np.int32]:
    """Return (H, W) labels 1.. of cells that end at edges: a watershed from a grid of seeds."""
    height, width = view.lab.shape[:2]
    seeds = np.zeros((height, width), dtype=np.int32)
    rows, columns = np.arange(CELL // 2, height, CELL), np.arange(CELL // 2, width, CELL)
    seeds[np.ix_(rows, columns)] = np.arange(1, len(rows) * len(columns) + 1).reshape(len(rows), len(columns))
    cells = cv2.watershed(np.ascontiguousarray(cv2.medianBlur(view.pixels, 3)), seeds)
    grown = cv2.dilate(np.maximum(cells, 0).astype(np.float32), np.ones((3, 3), np.uint8))
    return np.where(cells > 0, cells, grown).astype(np.int32)


def colour_name(lab: Plane) -> str | None:
    """Return the name of the colour that most of `lab` ((N, 3) L*a*b*) has; None when none holds ONE_COLOUR of it.

    Nothing is called grey: white in the shade looks so too.
    """
    shares = colour_shares(lab)
    name = max(shares, key=lambda colour: shares[colour])
    return name if shares[name] >= ONE_COLOUR and name != "grey" else None


def colour_shares(lab: Plane) -> dict[str, float]:
    """Return which share (0..1) of `lab` ((N, 3) L*a*b*, N of 1 or more) bears each colour's name."""
    light, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1])) % 360
    warm = (hue >= 25) & (hue < 95)
    rules = {  # the first that holds
        "black": (light < 20) & (chroma < 20),
        "white": (light > 78) & (chroma < 9),
        "grey": chroma < np.where(warm, 7, 11),
        "beige": warm & (light > 68) & (chroma < 32),
        "brown": warm & (chroma < np.clip(75 - light, 22, 48)) & (light <= 68),
        "pink": ((hue >= 325) | (hue < 25)) & (light > 58) & (chroma < 60),
        "red": (hue >= 345) | (hue < 45),
        "orange": hue < 74,
        "yellow": hue < 108,
        "green": hue < 168,
        "teal": hue < 225,
        "blue": hue < 309,  # sRGB's own blue lies at 306
        "purple": hue < 345,
    }
    first = np.select(list(rules.values()), range(len(rules)))
    counts = np.bincount(first, minlength=len(rules))
    return {name: float(count) / len(lab) for name, count in zip(rules, counts, strict=True)}


def _grown(corners: NDArray[Any], factor: float) -> NDArray[np.float64]:
    middle = corners.mean(axis=0)
    return np.asarray(middle + (corners - middle) * factor, dtype=np.float64)


def _filled(corners: NDArray[Any], view: View) -> Blob:
    canvas = np.zeros(view.lab.shape[:2], dtype=np.uint8)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas > 0


def _hull(blob: Blob) -> Blob:
    canvas = np.zeros(blob.shape, dtype=np.uint8)
    hull = cv2.convexHull(np.argwhere(blob)[:, ::-1].astype(np.int32))
    cv2.fillPoly(canvas, [hull], 1)
    return canvas > 0


def _dilated(blob: Blob, radius: int) -> Blob:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(blob.astype(np.uint8), disc) > 0


def _depth(blob: Blob) -> Plane:
    """Return each pixel's distance in px to the border of a blob or of the photo."""
    bordered = cv2.copyMakeBorder(blob.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return np.asarray(cv2.distanceTransform(bordered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1], dtype=np.float32)


def _rounded(blob: Blob, radius: int) -> Blob:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = cv2.morphologyEx(blob.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(opened, (0, 0), radius) > 0.5, dtype=bool)


def _main_part(blob: Blob) -> Blob:
    """Return the largest connected part of a blob, its holes filled."""
    contours, _ = cv2.findContours(blob.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(blob.shape, dtype=np.uint8)
    if contours:
        cv2.drawContours(canvas, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return canvas > 0


def _polygon(blob: Blob) -> Polygon:
    """Return the outline of a connected blob as at most 64 relative points."""
    height, width = blob.shape
    contours, _ = cv2.findContours(blob.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(contours, key=cv2.contourArea)
    tolerance = 0.7
    while len(corners := cv2.approxPolyDP(outline, tolerance, True)) > 64:
        tolerance *= 1.3
    points = np.clip((corners[:, 0] + 0.5) / (width, height), 0, 1)
    return tuple((round(float(x), 4), round(float(y), 4)) for x, y in points)
