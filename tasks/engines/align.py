"""What a generator does to the whole photo beside the edit: it moves it by a pixel or two and drifts in colour.

Both are measured outside the region that was to change, and undone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Mask, Pixels

Plane = NDArray[np.float32]  # (H, W)
Shift = tuple[float, float]  # px to the right and down

STILL = (0.0, 0.0)
EQUAL = 0.5  # of the pixels outside the region: an edit that left so many as they were is not off
BLUR = 1.5  # px: noise goes, and the slopes that a shift is read from reach further
SAMPLE = 20_000  # pixels that are looked at: many more than a few figures need
FEWEST = 64
STEPS = 12  # of the search for the shift; three or four are usual
LAST_STEP = 0.003  # px: a smaller one ends the search
ROUNDS = 5  # of a robust fit
LANCZOS = 4  # px that the kernel reaches
LEAST_SHIFT = 0.05  # px: less is no more than the measuring's own error, and moving costs sharpness
LEAST_DRIFT = 0.5  # levels of 0..255
BETTER = 0.98  # of the difference at the edges may at most be left, or nothing was understood
CLIPPED = 3  # levels from black and white: what was cut off there says nothing of colour


@dataclass(frozen=True)
class Drift:
    """How far an edit is off its target as a whole: px to the right and down, mean levels (0..255) of colour."""

    shift_x: float = 0.0
    shift_y: float = 0.0
    colour: float = 0.0


def align(target: Pixels, edited: Pixels, region: Mask) -> tuple[Pixels, Drift]:
    """Return the edit (H, W, 3) moved and recoloured to fit its target outside `region` (H, W), and how far it was off.

    The shift is found to a fraction of a pixel, the colour as a gain and an offset a channel of sRGB, both so that what
    else was painted outside the region does not count. Pixels that move in over the border are the target's.
    An edit that is not off comes back as it is, bit by bit. Raises ValueError when the sizes differ.
    """
    if target.shape != edited.shape:
        raise ValueError(f"sizes differ: {target.shape} and {edited.shape}")
    outside = ~region
    if not outside.any() or (target == edited).all(axis=-1)[outside].mean() > EQUAL:
        return edited, Drift()
    shift = _shift(_grey(target), _grey(edited), outside)
    if np.hypot(*shift) < LEAST_SHIFT:
        shift = STILL
    moved, inside = _moved(edited.astype(np.float32), shift)
    gain, offset = _colours(target, moved, outside & inside)
    colour = float(np.abs(gain * moved + offset - moved)[outside].mean())
    if colour < LEAST_DRIFT:
        gain, offset, colour = np.ones(3), np.zeros(3), 0.0
    if shift == STILL and colour == 0.0:
        return edited, Drift()
    fitted = np.rint(np.clip(gain * moved + offset, 0, 255)).astype(np.uint8)
    return np.where(inside[..., None], fitted, target), Drift(*shift, colour)


def _grey(pixels: Pixels) -> Plane:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), BLUR), np.float32)


def _shift(target: Plane, edited: Plane, outside: Mask) -> Shift:
    """Return how far `edited` lies to the right of and below `target`, in px; (0, 0) where that explains nothing."""
    edges = _steepest(target, outside)
    still = _difference(target, edited, edges, STILL)
    found = [_refined(target, edited, edges, start) for start in (STILL, _rough(target, edited, outside))]
    best = min(found, key=lambda shift: _difference(target, edited, edges, shift))
    return best if _difference(target, edited, edges, best) < BETTER * still else STILL


def _steepest(plane: Plane, outside: Mask) -> Mask:
    """Return the pixels outside the region with the steepest slopes: flat ones say nothing of a shift."""
    slope = np.hypot(*_slopes(plane))
    count = min(SAMPLE, max(1, int(outside.sum()) // 4))
    least = np.partition(slope[outside], -count)[-count]
    return np.asarray(outside & (slope >= least))


def _rough(target: Plane, edited: Plane, outside: Mask) -> Shift:
    """Return the shift by phase correlation of what lies outside the region, edges alone."""
    window = cv2.createHanningWindow(target.shape[::-1], cv2.CV_32F) * outside
    (x, y), _ = cv2.phaseCorrelate(*(window * cv2.Laplacian(plane, cv2.CV_32F) for plane in (target, edited)))
    return x, y


def _refined(target: Plane, edited: Plane, edges: Mask, start: Shift) -> Shift:
    """Return the shift that fits best near `start`, by Gauss and Newton, brightness and contrast fitted along.

    Each pixel weighs the less the worse it fits, so that what was painted anew outside the region is outvoted.
    """
    x, y = start
    for _ in range(STEPS):
        moved, inside = _moved(edited, (x, y))
        used = edges & inside
        if used.sum() < FEWEST:
            return start
        fit = _robust([*(slope[used] for slope in _slopes(moved)), moved[used]], target[used])
        if abs(fit[2]) < 0.1:  # nothing in common
            return start
        step_x, step_y = np.clip(fit[:2] / fit[2], -2, 2)
        x, y = x + float(step_x), y + float(step_y)
        if np.hypot(step_x, step_y) < LAST_STEP:
            break
    return x, y


def _difference(target: Plane, edited: Plane, edges: Mask, shift: Shift) -> float:
    """Return how much differs when a shift is undone: a median in levels, brightness and contrast aside."""
    moved, inside = _moved(edited, shift)
    used = edges & inside
    if used.sum() < FEWEST:
        return float("inf")
    gain, offset = _robust([moved[used]], target[used])
    return float(np.median(np.abs(gain * moved[used] + offset - target[used])))


def _colours(target: Pixels, moved: NDArray[np.float32], used: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gain (3,) and the offset (3,) in levels that bring `moved` to the target's colours."""
    gain, offset = np.ones(3), np.zeros(3)
    wanted, found = target[used].astype(np.float64), moved[used].astype(np.float64)
    whole = (np.minimum(wanted, found) > CLIPPED) & (np.maximum(wanted, found) < 255 - CLIPPED)
    for channel in range(3):
        chosen = np.flatnonzero(whole[:, channel])
        chosen = chosen[:: 1 + len(chosen) // SAMPLE]
        if len(chosen) >= FEWEST:
            fit = _robust([found[chosen, channel]], wanted[chosen, channel])
            if 0.5 < fit[0] < 2:
                gain[channel], offset[channel] = fit
    return gain, offset


def _robust(terms: Sequence[NDArray[Any]], wanted: NDArray[Any]) -> NDArray[np.float64]:
    """Return the coefficients with which terms (N,) each, and one more constant, add up to `wanted` (N,).

    Least squares, again and again, each time with what fits badly weighing less.
    """
    table = np.stack([*terms, np.ones(len(wanted))], axis=-1).astype(np.float64)
    weights, fit = np.ones(len(wanted)), np.zeros(table.shape[1])
    for _ in range(ROUNDS):
        weighted = table * weights[:, None]
        fit = np.linalg.lstsq(weighted.T @ table, weighted.T @ wanted, rcond=None)[0]
        error = np.abs(table @ fit - wanted)
        weights = 1 / (1 + (error / (2 * max(0.25, float(np.median(error))))) ** 2) ** 2
    return fit


def _slopes(plane: Plane) -> tuple[Plane, Plane]:
    """Return how steeply a plane rises to the right and down, in levels a pixel."""
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _moved(plane: NDArray[np.float32], shift: Shift) -> tuple[NDArray[np.float32], Mask]:
    """Return a plane or image with a shift undone, and where (H, W) it comes from within the border.

    By Lanczos's kernel for that very shift: OpenCV's own warps know only 32nds of a pixel.
    """
    if shift == STILL:
        return plane, np.ones(plane.shape[:2], bool)
    (x, y), (height, width) = shift, plane.shape[:2]
    moved = cv2.sepFilter2D(plane, cv2.CV_32F, _lanczos(x), _lanczos(y), borderType=cv2.BORDER_REPLICATE)
    columns, rows = np.arange(width) + x, np.arange(height) + y
    inside = ((rows >= 0) & (rows <= height - 1))[:, None] & ((columns >= 0) & (columns <= width - 1))
    return np.asarray(moved, np.float32), inside


def _lanczos(shift: float) -> NDArray[np.float64]:
    reach = int(np.ceil(abs(shift))) + LANCZOS
    away = np.arange(-reach, reach + 1) - shift
    weights = np.sinc(away) * np.sinc(away / LANCZOS) * (np.abs(away) < LANCZOS)
    return np.asarray(weights / weights.sum())
