"""Emblems: another logo, made of a few simple shapes, in the place of the old one."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.procedural.colour import palette
from tasks.engines.procedural.fields import grid, step
from tasks.engines.procedural.glyphs import to_frame
from tasks.engines.procedural.ink import Ink, find_ink
from tasks.engines.procedural.lettering import FONTS, set_line
from tasks.engines.procedural.region import Colours, Plane, Region, lab, luma, rgb, single

CANDIDATES = 4  # emblems drawn; the stronger the edit, the less like the old print is the one taken
Shape = Callable[[Plane, Plane, np.random.Generator], Plane]
# A shape is a signed distance, or near it: negative within, over x and y of -1..1 (y downwards).


def rebrand(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Take the region's print away and draw another emblem in its place, in its inks.

    Raises Refusal when the region bears no print.
    """
    ink = find_ink(region, rng)
    inks, _ = palette(lab(ink.surface + ink.tint)[ink.matte > 0.6], 2)
    drawn = [_draw(ink, region.shape, rng) for _ in range(CANDIDATES)]
    painted = [_paint(ink, inks, strength, whole, accent) for whole, accent in drawn]
    changed = [float(np.square(one - region.pixels)[region.inside].mean()) for one in painted]
    return painted[int(np.argsort(changed, kind="stable")[round(strength * (CANDIDATES - 1))])]


def _paint(ink: Ink, inks: NDArray[np.float32], strength: float, whole: Plane, accent: Plane) -> Colours:
    """Return the surface with an emblem on it, in the old one's inks."""
    light = _light(ink.surface, ink.matte)
    opacity = np.float32(0.75 + 0.25 * strength)
    painted = ink.surface + opacity * whole[..., None] * (_flat(inks[0]) * light - ink.surface)
    two_inks = len(inks) > 1 and np.linalg.norm(inks[1] - inks[0]) > 15
    inner = _flat(inks[1]) * light if two_inks else ink.surface  # with one ink, the surface shows through
    return single(painted + accent[..., None] * (inner - painted))


def _draw(ink: Ink, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return what a new emblem covers and, of that, what its inner mark covers, (h, w) each in 0..1."""
    along, across = to_frame(ink, *grid(shape))
    length, height = ink.size
    radius = 0.5 * max(height, min(length, 1.4 * height))
    count = max(1, min(3, round(length / (2.3 * radius))))  # a long print becomes a row of emblems
    place = np.clip(np.round((along - length / 2) / (2.3 * radius) + (count - 1) / 2), 0, count - 1) - (count - 1) / 2
    x, y = (along - length / 2) / radius - 2.3 * place, (across - height / 2) / radius
    tilt = rng.normal(0, 0.06)
    x, y = (x + tilt * y).astype(np.float32), (y - tilt * x).astype(np.float32)
    mark = SHAPES[int(rng.integers(len(SHAPES)))]
    if rng.random() < 0.45:
        outer = _frame(x, y, rng)
        inner = np.maximum(0.62 * mark(x / 0.62, y / 0.62, rng), outer + 0.1)
    else:
        outer = mark(x, y, rng)
        second = SHAPES[int(rng.integers(len(SHAPES)))]
        inner = np.maximum(0.45 * second(x / 0.45, y / 0.45, rng), outer + 0.1)
    soft = 1.2 * max(ink.edge, 0.5) / radius
    whole, accent = (1 - step(distance.astype(np.float32), -soft, soft) for distance in (outer, inner))
    return whole, accent


def _flat(colour: Colours) -> Colours:
    return rgb(np.asarray(colour, np.float32).reshape(1, 1, 3))


def _light(surface: Colours, matte: Plane) -> Plane:
    """Return how much light falls on each pixel against the print's mean, (h, w, 1)."""
    light = cv2.GaussianBlur(luma(surface), (0, 0), 2)
    return single(np.clip(light / max(float(light[matte > 0.5].mean()), 0.02), 0.5, 1.6)[..., None])


def _frame(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Return a disc, a rounded square or a shield."""
    kind = int(rng.integers(3))
    if kind == 0:
        return single(np.hypot(x, y) - 0.95)
    corner = np.hypot(np.maximum(np.abs(x) - 0.6, 0), np.maximum(np.abs(y) - 0.6, 0)) - 0.3
    if kind == 1:
        return single(corner)
    return single(np.maximum(corner, np.abs(x) + 0.75 * y - 0.95))


def _star(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    points = int(rng.integers(4, 9))
    turn = np.abs((np.arctan2(x, -y) * points / (2 * np.pi) + 0.5) % 1 - 0.5) * 2  # 0 at a point, 1 between
    return single((np.hypot(x, y) - (0.98 - rng.uniform(0.45, 0.6) * turn)) * 0.7)


def _leaf(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    lean = rng.uniform(-0.6, 0.6)
    x, y = np.cos(lean) * x - np.sin(lean) * y, np.sin(lean) * x + np.cos(lean) * y
    offset = rng.uniform(0.4, 0.7)
    radius = np.hypot(offset, 0.95)
    body = np.maximum(np.hypot(x - offset, y), np.hypot(x + offset, y)) - radius
    vein = np.maximum(np.abs(x) - 0.05, np.abs(y - 0.2) - 0.6)
    return single(np.maximum(body, -vein))


def _ring(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    width = rng.uniform(0.14, 0.28)
    ring = np.abs(np.hypot(x, y) - (0.95 - width)) - width
    turn = rng.uniform(0, 2 * np.pi)
    gap = np.abs(np.cos(turn) * x + np.sin(turn) * y) - 0.12
    beyond = -(np.cos(turn) * y - np.sin(turn) * x)
    return single(np.maximum(ring, -np.maximum(gap, beyond)))


def _chevron(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    slope, rows = rng.uniform(0.6, 1.1), int(rng.integers(1, 4))
    pitch = 1.5 / rows
    place = y - slope * (np.abs(x) - 0.5)
    nearest = np.clip(np.round((place + 0.75 - pitch / 2) / pitch), 0, rows - 1) * pitch - 0.75 + pitch / 2
    return single(np.maximum(np.abs(place - nearest) - 0.3 * pitch, np.abs(x) - 0.9) * 0.75)


def _drop(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    radius = rng.uniform(0.5, 0.62)
    low = 0.95 - radius
    ball = np.hypot(x, y - low) - radius
    slope = radius / np.sqrt((low + 0.95) ** 2 - radius**2)
    cone = np.maximum((np.abs(x) - slope * (y + 0.95)) / np.hypot(1, slope), y - low + radius * 0.4)
    return single(np.minimum(ball, cone))


def _mountain(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    second, slope = rng.uniform(0.25, 0.5), rng.uniform(1.2, 1.7)
    peaks = np.minimum(slope * np.abs(x + 0.25) - 0.85, slope * np.abs(x - second) - rng.uniform(0.2, 0.5)) - y
    return single(np.maximum(peaks * 0.55, np.maximum(y - 0.75, np.abs(x) - 0.98)))


def _monogram(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    letters = "".join(chr(65 + int(rng.integers(26))) for _ in range(int(rng.integers(1, 3))))
    coverage = set_line(letters, *FONTS[int(rng.integers(len(FONTS)))])
    border = max(coverage.shape)
    coverage = cv2.copyMakeBorder(coverage, border, border, border, border, cv2.BORDER_CONSTANT)
    ink = (coverage > 0.5).astype(np.uint8)
    distance = cv2.distanceTransform(1 - ink, cv2.DIST_L2, 3) - cv2.distanceTransform(ink, cv2.DIST_L2, 3)
    softened = cv2.GaussianBlur(distance, (0, 0), 1.5)
    pixels = border / 1.8  # of the set letters a unit
    from_x, from_y = x * pixels + coverage.shape[1] / 2, y * pixels + coverage.shape[0] / 2
    remapped = cv2.remap(
        softened,
        from_x.astype(np.float32),
        from_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return single(remapped / pixels)


SHAPES: tuple[Shape, ...] = (_star, _leaf, _ring, _chevron, _drop, _mountain, _monogram)
