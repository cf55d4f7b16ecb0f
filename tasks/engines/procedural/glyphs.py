"""Glyphs broken: text and logos that keep ink, place and style and can no longer be read."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.engines.procedural.fields import fill, grid, lowpass, smooth_noise, step
from tasks.engines.procedural.ink import Ink, find_ink
from tasks.engines.procedural.region import Colours, Plane, Region, single

Cell = NDArray[np.float64]  # left, top, right, bottom in the print's own frame


def garble(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Exchange, mirror, cross, bend and melt the glyphs of the region's print; ink, surface and sharpness stay.

    Raises Refusal when the region bears no print.
    """
    ink = find_ink(region, rng)
    cells = _cells(ink)
    size = float(np.mean(cells[:, 3] - cells[:, 1]))
    along, across = to_frame(ink, *grid(region.shape))
    bend = (0.04 + 0.04 * strength) * size
    along, across = (part + bend * smooth_noise(rng, region.shape, max(4.0, 0.7 * size)) for part in (along, across))
    source = from_frame(ink, *_shuffle(cells, along, across, strength, rng))
    matte = np.clip(cv2.remap(ink.matte, *source, cv2.INTER_CUBIC), 0, 1)
    carried = cv2.remap(ink.tint, *source, cv2.INTER_LINEAR).astype(np.float32)
    tint = fill(carried, np.where(matte > 0.6, 1, 1e-4).astype(np.float32))
    garbled = ink.matte if ink.picture else _melt(matte, ink, strength, rng)  # a picture's outline is the print's own
    return single(ink.surface + garbled[..., None] * tint)


def to_frame(ink: Ink, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Return pixels' places in the print's frame: along and across its reading direction from its upper left."""
    cos, sin = np.float32(np.cos(ink.angle)), np.float32(np.sin(ink.angle))
    x, y = x - np.float32(ink.centre[0]), y - np.float32(ink.centre[1])
    return cos * x + sin * y + np.float32(ink.size[0] / 2), cos * y - sin * x + np.float32(ink.size[1] / 2)


def from_frame(ink: Ink, along: Plane, across: Plane) -> tuple[Plane, Plane]:
    """Return the pixels of places in the print's frame."""
    cos, sin = np.float32(np.cos(ink.angle)), np.float32(np.sin(ink.angle))
    along, across = along - np.float32(ink.size[0] / 2), across - np.float32(ink.size[1] / 2)
    x, y = (
        cos * along - sin * across + np.float32(ink.centre[0]),
        sin * along + cos * across + np.float32(ink.centre[1]),
    )
    return x.astype(np.float32), y.astype(np.float32)


def straightened(ink: Ink) -> Plane:
    """Return the matte turned upright: (height, length) in the print's frame."""
    along, across = grid((max(1, round(ink.size[1])), max(1, round(ink.size[0]))))
    return cv2.remap(ink.matte, *from_frame(ink, along, across), cv2.INTER_LINEAR).astype(np.float32)


def lines(upright: Plane, stroke: float) -> list[tuple[int, int]]:
    """Return (top, bottom) of each line of an upright matte: cut at gaps in its profile, and where lines interlock.

    A compact block much taller than its strokes are wide is more lines than one, with no gap between them.
    """
    profile = upright.sum(1)
    found = _runs(profile > 0.1 * np.quantile(profile, 0.9), 0.15 * len(profile)) or [(0, len(profile))]
    cut: list[tuple[int, int]] = []
    for top, bottom in found:
        height = bottom - top
        count = max(1, round(height / (11 * stroke))) if upright.shape[1] < 2.5 * height else 1
        cut += pairwise(np.linspace(top, bottom, 1 + count).round().astype(int).tolist())
    return cut


def _cells(ink: Ink) -> Cell:
    """Return the glyphs' boxes (n, 4): runs of ink along each line, runs too long for a glyph cut at their thinnest.

    A print of one or two pieces is no text: its pieces are quartered.
    """
    upright = straightened(ink)
    cells: list[tuple[float, float, float, float]] = []
    for top, bottom in lines(upright, ink.stroke):
        profile, height = upright[top:bottom].sum(0), bottom - top
        for left, right in _runs(profile > 0.25, max(2.0, 0.12 * height)):
            pieces = max(1, round((right - left) / (0.75 * height)))
            cuts = [left]
            for piece in range(1, pieces):
                expected = left + piece * (right - left) / pieces
                low, high = max(int(expected - 0.2 * height), cuts[-1] + 2), int(expected + 0.2 * height) + 1
                if low < min(high, right - 1):
                    cuts.append(low + int(profile[low : min(high, right - 1)].argmin()))
            cells += [(a, top, b, bottom) for a, b in pairwise([*cuts, right])]
    boxes = np.array(cells or [(0, 0, *upright.shape[::-1])], np.float64)
    return boxes if len(boxes) > 2 else np.concatenate([_quarters(box) for box in boxes])


def _quarters(box: Cell) -> Cell:
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([(left, top, x, y), (x, top, right, y), (left, y, x, bottom), (x, y, right, bottom)])


def _runs(present: NDArray[np.bool_], least: float) -> list[tuple[int, int]]:
    """Return (start, stop) of the runs of True; a run shorter than `least` joins the one before it."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]])))
    runs: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if runs and min(stop - start, runs[-1][1] - runs[-1][0]) < least:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs


def _shuffle(
    cells: Cell, along: Plane, across: Plane, strength: float, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Return where in the print's frame each pixel's ink comes from: cells exchanged, mirrored, crossed, doubled."""
    source_along, source_across = along.copy(), across.copy()
    changed = rng.permutation(len(cells))[: int(np.ceil((0.5 + 0.5 * strength) * len(cells)))]
    for box in cells[changed]:  # never so few that the word can still be read
        left, top, right, bottom = box
        here = (along >= left) & (along < right) & (across >= top - 1) & (across < bottom + 1)
        u, v = (along[here] - left) / (right - left), (across[here] - top) / (bottom - top)
        from_u, from_v = _glyph(cells, box, u, v, rng)
        if rng.random() < 0.25 + 0.35 * strength:  # a hybrid: another glyph beyond a slanting line
            second_u, second_v = _glyph(cells, box, u, v, rng)
            lean = rng.normal(0, 1.5)
            beyond = (v - 0.5) + lean * (u - 0.5) > rng.uniform(-0.15, 0.15)
            from_u, from_v = np.where(beyond, second_u, from_u), np.where(beyond, second_v, from_v)
        source_along[here], source_across[here] = from_u, from_v
    return source_along, source_across


def _glyph(cells: Cell, box: Cell, u: Plane, v: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Return where the relative places (u, v) of a cell fall in a donor, a cell of like width, perhaps mirrored."""
    widths = cells[:, 2] - cells[:, 0]
    likeness = np.exp(-3 * np.abs(np.log(widths / (box[2] - box[0]))))
    likeness[(cells == box).all(1)] = 1e-6
    left, top, right, bottom = cells[rng.choice(len(cells), p=likeness / likeness.sum())]
    u = 1 - u if rng.random() < 0.5 else u
    v = 1 - v if rng.random() < 0.25 else v
    u = (u - 0.5) * rng.uniform(0.85, 1.15) + 0.5
    return left + u * (right - left), top + v * (bottom - top)


def _melt(matte: Plane, ink: Ink, strength: float, rng: np.random.Generator) -> Plane:
    """Return the matte with strokes broken here and run together there: a noisy level set of it, as sharp as it was."""
    stroke = min(ink.stroke, 8.0)
    reach = 2 * round(0.3 * stroke) + 1  # strokes cut by the exchange are joined to what lies near
    joined = cv2.morphologyEx(matte, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    soft = lowpass(joined, (0.2 + 0.1 * strength) * stroke)
    level = 0.5 * float(np.quantile(soft[matte > 0.7], 0.5)) if (matte > 0.7).any() else 0.5
    uneven = (0.1 + 0.1 * strength) * smooth_noise(rng, matte.shape, max(3.0, 2.5 * stroke))
    width = max(ink.edge, 0.5) * 1.2 / stroke
    return step(soft + level * uneven * 2 * (soft > 0.05), level - width / 2, level + width / 2)
