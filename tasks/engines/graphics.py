"""Finds what is printed or woven: logos (compact, few colours, on a plainer surround) and repeating patterns."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Blob = NDArray[np.bool_]  # (H, W)

# Logos
FLAT = 3.0  # Lab distance a px, below which a surface counts as plain
LEAST_GROUND = 0.01  # of the photo: a plain surface that can bear a logo
LEAST_LOGO, MOST_LOGO = 0.006, 0.12  # of the photo
LONGEST_LOGO = 2.0  # times as long as wide
CONTRAST = 22.0  # Lab distance of the graphic from its ground
INKS = 3  # colours that a logo may have; they leave LEFT_OVER of mean Lab distance unexplained at most
LEFT_OVER = 10.0
PRINTED = 43.0  # mean Lab distance of a logo from its ground: muzzles and lamps reach 37, rendered logos 50 and more

# Patterns
WINDOWS = ((32, 64), (64, 32))  # px, high and wide: bands lie or stand
LEAST_PERIOD, MOST_PERIOD = 4.0, 21.0  # px: a window holds three periods along
FIRST, SECOND = 0.45, 0.25  # autocorrelation at one period and at two
VALLEY = 0.1  # the most it may be between
AGREE = 0.2  # of a period: how far those of neighbouring windows may be apart
LEAST_WINDOWS = 3  # side by side: one alone repeats by chance
LEAST_RELIEF = 3.0  # standard deviation of L* in a window


@dataclass(frozen=True)
class Logo:
    """A compact graphic: where, its pixels that differ from the ground, and the figures that say so."""

    blob: Blob
    ink: Blob
    contrast: float
    left_over: float


@dataclass(frozen=True)
class Pattern:
    """A repeating texture: where, its period in px, the autocorrelation there, and whether it repeats one way only."""

    blob: Blob
    period: float
    correlation: float
    striped: bool


def find_logos(lab: Plane, on_object: Plane) -> list[Logo]:
    """Return the logos in a photo of about 320 px: `lab` (H, W, 3) float32 L*a*b*, `on_object` (H, W) 0..1.

    A logo is a hole in a plain surface: something compact of few colours that one plain colour surrounds. Holes in a
    row, of one height, are letters.
    """
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.7)
    steps = [cv2.Sobel(smooth, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1))]
    flat = (np.sqrt(sum((step**2).sum(axis=2) for step in steps)) < FLAT).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    found: list[Logo] = []
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < LEAST_GROUND * flat.size:
            continue
        ground = labels == label
        if on_object[ground].mean() > 0.5:
            found += _holes(lab, ground, on_object)
    outer: list[Logo] = []
    for logo in sorted(found, key=lambda logo: -int(logo.blob.sum())):
        if not any((logo.blob & other.blob).any() for other in outer):
            outer.append(logo)
    return [logo for logo in outer if not any(_beside(logo.blob, other.blob) for other in outer if other is not logo)]


def _holes(lab: Plane, ground: Blob, on_object: Plane) -> list[Logo]:
    contours, _ = cv2.findContours(ground.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    whole = np.zeros(ground.shape, dtype=np.uint8)
    cv2.drawContours(whole, contours, -1, 1, cv2.FILLED)
    closed = cv2.morphologyEx(whole * ~ground, cv2.MORPH_CLOSE, _disc(1))
    holes = np.where(whole > 0, closed, 0).astype(np.uint8)
    parted = cv2.morphologyEx(holes, cv2.MORPH_OPEN, _disc(4))  # a badge may all but touch the word under it
    found = []
    for candidates in (holes, parted):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates)
        for label in range(1, count):
            *_, wide, high, area = (int(figure) for figure in stats[label])
            if LEAST_LOGO <= area / ground.size <= MOST_LOGO and area >= 0.4 * wide * high:
                logo = _logo(lab, labels == label, ground, on_object)
                if logo is not None:
                    found.append(logo)
    return found


def _logo(lab: Plane, hole: Blob, ground: Blob, on_object: Plane) -> Logo | None:
    _, (one, other), _ = cv2.minAreaRect(np.argwhere(hole).astype(np.float32))
    around = (cv2.dilate(hole.astype(np.uint8), _disc(7)) > 0) & ground
    if max(one, other) > LONGEST_LOGO * min(one, other) or on_object[hole | around].mean() < 0.6:
        return None
    distance = np.linalg.norm(lab - np.median(lab[around], axis=0), axis=2)
    ink = hole & (distance > CONTRAST)
    left_over = unexplained(lab[hole], INKS)
    if ink.sum() < 0.3 * hole.sum() or left_over > LEFT_OVER or distance[ink].mean() < PRINTED:
        return None
    return Logo(cv2.dilate(hole.astype(np.uint8), _disc(2)) > 0, ink, float(distance[ink].mean()), left_over)


def _beside(one: Blob, other: Blob) -> bool:
    """Tell whether two blobs stand beside each other like letters of a word."""
    (top, left), (bottom, right) = (edge(np.argwhere(one), axis=0) for edge in (np.min, np.max))
    (other_top, other_left), (other_bottom, other_right) = (
        edge(np.argwhere(other), axis=0) for edge in (np.min, np.max)
    )
    high, other_high = bottom - top, other_bottom - other_top
    gap = max(left, other_left) - min(right, other_right)
    level = min(bottom, other_bottom) - max(top, other_top)
    return bool(gap < 0.6 * high and level > 0.7 * max(high, other_high))


def unexplained(colours: Plane, count: int) -> float:
    """Return the mean Lab distance of `colours` (N, 3) from the nearest of their `count` commonest."""
    sample = np.ascontiguousarray(colours[:: max(1, len(colours) // 400)], dtype=np.float32)
    if len(sample) <= count:
        return 0.0
    order = np.argsort(sample[:, 0], kind="stable")
    first = np.zeros((len(sample), 1), dtype=np.int32)
    first[order, 0] = np.arange(len(sample)) * count // len(sample)  # start from thirds of lightness: no chance
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 0.5)
    _, labels, centres = cv2.kmeans(sample, count, first, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return float(np.linalg.norm(sample - centres[labels[:, 0]], axis=1).mean())


def find_patterns(light: Plane, on_object: Plane) -> list[Pattern]:
    """Return the repeating patterns in a photo of about 320 px: `light` (H, W) L* 0..100, `on_object` (H, W) 0..1.

    A window repeats when its autocorrelation has a peak one period away, another at twice that, and a valley before;
    a pattern is a group of neighbouring windows with one period. Fur, grass and cloth have the first by chance,
    hardly ever all of it.
    """
    fine = light - cv2.GaussianBlur(light, (0, 0), max(WINDOWS[0]) / 5)
    found: list[Pattern] = []
    for window in WINDOWS:
        found += _grouped(_repeats(fine, on_object, window), window, light.shape, on_object)
    apart: list[Pattern] = []
    for pattern in sorted(found, key=lambda pattern: -int(pattern.blob.sum())):
        if not any((pattern.blob & other.blob).sum() > 0.3 * pattern.blob.sum() for other in apart):
            apart.append(pattern)
    return apart


@dataclass(frozen=True)
class Repeat:
    """A window that repeats: its corner, its period as a vector in px, the autocorrelation there, and half across."""

    top: int
    left: int
    x: int
    y: int
    correlation: float
    across: float


def _repeats(fine: Plane, on_object: Plane, window: tuple[int, int]) -> list[Repeat]:
    high, wide = window
    places = [
        (top, left)
        for top in range(0, fine.shape[0] - high + 1, high // 4)
        for left in range(0, fine.shape[1] - wide + 1, wide // 4)
        if on_object[top : top + high, left : left + wide].mean() > 0.6
        and fine[top : top + high, left : left + wide].std() > LEAST_RELIEF
    ]
    if not places:
        return []
    windows = np.stack([fine[top : top + high, left : left + wide] for top, left in places])
    repeats = []
    for (top, left), maps in zip(places, _autocorrelation(windows), strict=True):
        repeat = _repeat(maps)
        if repeat is not None:
            repeats.append(Repeat(top, left, *repeat))
    return repeats


def _autocorrelation(windows: Plane) -> Plane:
    """Return the autocorrelation of N tapered windows, (N, H, W) as they are, no shift in the middle and 1 there."""
    high, wide = windows.shape[1:]
    taper = np.outer(np.hanning(high), np.hanning(wide)).astype(np.float32)
    size = (2 * high, 2 * wide)
    spectra = np.fft.rfft2((windows - windows.mean(axis=(1, 2), keepdims=True)) * taper, size)
    overlap = np.fft.irfft2(np.abs(np.fft.rfft2(taper, size)) ** 2, size)
    product = np.fft.irfft2(np.abs(spectra) ** 2, size) / np.maximum(overlap, 2e-2 * overlap[0, 0])
    shifted = np.fft.fftshift(product / np.maximum(product[:, :1, :1], 1e-9), axes=(1, 2))
    return np.asarray(shifted[:, high // 2 : high // 2 + high, wide // 2 : wide // 2 + wide], dtype=np.float32)


def _repeat(maps: Plane) -> tuple[int, int, float, float] | None:
    """Return period x and y, the autocorrelation there and half a period across, of one window; None if it has none."""
    high, wide = maps.shape
    middle_y, middle_x = high // 2, wide // 2
    peaks = (maps >= cv2.dilate(maps, np.ones((3, 3), np.uint8))) & (maps > FIRST)
    peaks[:middle_y] = False  # the other half is the same
    best: tuple[int, int, float, float] | None = None
    for row, column in zip(*np.nonzero(peaks), strict=True):
        y, x = int(row) - middle_y, int(column) - middle_x
        if not LEAST_PERIOD <= np.hypot(x, y) <= MOST_PERIOD or (best is not None and maps[row, column] <= best[2]):
            continue
        between = min(maps[middle_y + round(y * t), middle_x + round(x * t)] for t in (0.3, 0.4, 0.5, 0.6, 0.7))
        again_y, again_x = middle_y + 2 * y, middle_x + 2 * x
        again = maps[max(0, again_y - 1) : again_y + 2, max(0, again_x - 1) : again_x + 2]
        if between < VALLEY and again.size and again.max() > SECOND:
            across = float(maps[middle_y + round(x / 2) if abs(x) < high else -1, middle_x - round(y / 2)])
            best = (x, y, float(maps[row, column]), across)
    return best


def _grouped(repeats: list[Repeat], window: tuple[int, int], size: tuple[int, ...], on_object: Plane) -> list[Pattern]:
    """Join neighbouring windows of one period into blobs, on the object."""
    high, wide = window
    found = []
    left_over = list(repeats)
    while left_over:
        group, waiting = [], [left_over.pop(0)]
        while waiting:
            one = waiting.pop()
            group.append(one)
            near = [other for other in left_over if _neighbours(one, other, window)]
            left_over = [other for other in left_over if other not in near]
            waiting += near
        if len(group) < LEAST_WINDOWS:
            continue
        blob = np.zeros(size, dtype=np.bool_)
        for repeat in group:  # the taper looks at the inner part of a window only
            blob[repeat.top + high // 8 : repeat.top + high - high // 8, repeat.left : repeat.left + wide] = True
        period = float(np.median([np.hypot(repeat.x, repeat.y) for repeat in group]))
        correlation = float(np.median([repeat.correlation for repeat in group]))
        striped = float(np.median([repeat.across for repeat in group])) > 0.5
        found.append(Pattern(blob & (on_object > 0.5), period, correlation, striped))
    return found


def _neighbours(one: Repeat, other: Repeat, window: tuple[int, int]) -> bool:
    high, wide = window
    if abs(one.top - other.top) > high // 4 or abs(one.left - other.left) > wide // 4:
        return False
    apart = min(np.hypot(one.x - sign * other.x, one.y - sign * other.y) for sign in (1, -1))
    return bool(apart <= max(1.5, AGREE * np.hypot(one.x, one.y)))


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), dtype=np.uint8)
