"""Patterns: another print or weave on the same surface."""

import numpy as np

from tasks.engines.procedural.colour import palette
from tasks.engines.procedural.fields import grid, lowpass, smooth_noise, step
from tasks.engines.procedural.region import Colours, Plane, Region, rgb, single

KINDS = ("stripes", "dots", "checks", "waves", "zigzag", "florets")
SHARPNESS = 0.7  # pixels: the softness of a motif's edge


def repattern(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Lay another pattern over the region's surface, in its own colours, under its own light.

    The surface's light is its lightness against its mean; what is darker by far (eyes, seams) stays as it is.
    """
    colours = region.lab
    span = float(np.sqrt(region.inside.sum()))
    period = float(np.clip(span / rng.uniform(4, 9), 6, 60))
    x, y = grid(region.shape)
    bend = 0.04 * span
    x, y = (part + bend * smooth_noise(rng, region.shape, 0.7 * span) for part in (x, y))
    weave = np.clip((colours[..., 0] - lowpass(colours[..., 0], 2)) / 6, -1, 1)
    x, y = x + 2 * weave, y + 2 * weave  # tufts and threads carry the colour with them
    turn = rng.uniform(0, np.pi)
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    motif = _motif(KINDS[int(rng.integers(len(KINDS)))], u / period, v / period, SHARPNESS / period, rng)
    ground, figure = _colours(region, strength, rng)
    flat = ground + motif[..., None] * (figure - ground)
    light = lowpass(colours[..., 0], 1.0)
    mean = float(np.median(light[region.inside]))
    shaded = flat.copy()
    lit = np.clip(light / max(mean, 8), 0.25, 1.6)
    shaded[..., 0] = flat[..., 0] * lit
    shaded[..., 1:] = flat[..., 1:] * np.clip(lit, 0.4, 1.2)[..., None]
    shaded += 0.7 * (colours - lowpass(colours, 1.0))  # its weave and grain
    surface = np.median(colours[region.inside], axis=0)
    distance = np.linalg.norm((colours - surface) * (0.6, 1, 1), axis=-1).astype(np.float32)
    typical = float(np.quantile(distance[region.inside], 0.8))
    belongs = lowpass(1 - step(distance, 1.3 * typical + 8, 2.2 * typical + 20), 1.0)
    return rgb((colours + belongs[..., None] * (shaded - colours)).astype(np.float32))


def _colours(region: Region, strength: float, rng: np.random.Generator) -> tuple[Colours, Colours]:
    """Return ground and figure in Lab: the region's dominant colour, moved a little, and another one well apart."""
    centres, _ = palette(region.lab[region.inside], 4)
    ground = centres[0] + rng.normal(0, 3, 3)
    apart = np.linalg.norm(centres - ground, axis=1)
    contrast = 12 + 24 * strength
    figure = centres[int(apart.argmax())].astype(np.float64)
    if apart.max() < 8:  # one colour only: a lighter or darker relative of it
        figure = ground + (1 if ground[0] < 55 else -1) * np.array([1.0, 0, 0]) + rng.normal(0, 0.4, 3)
    figure = ground + (figure - ground) * contrast / np.linalg.norm(figure - ground)
    # The ground is redrawn too: another material than the old one, not the old one with a print.
    ground = ground + (ground - figure) * 0.25
    return ground.astype(np.float32), np.clip(figure, (4, -90, -90), (98, 90, 90)).astype(np.float32)


def _motif(kind: str, u: Plane, v: Plane, soft: float, rng: np.random.Generator) -> Plane:
    """Return how much of each pixel is figure (0..1); u and v are in periods, `soft` in periods too."""
    share = rng.uniform(0.35, 0.6)
    match kind:
        case "stripes":
            distance = np.abs(u % 1 - 0.5) - share / 2
        case "waves":
            distance = np.abs((u + 0.22 * np.sin(2 * np.pi * v / 1.6)) % 1 - 0.5) - share / 2
        case "zigzag":
            distance = np.abs((u + 0.7 * np.abs(v % 1 - 0.5)) % 1 - 0.5) - share / 2
        case "checks":
            a, b = np.abs(u % 1 - 0.5) - 0.25, np.abs(v % 1 - 0.5) - 0.25
            distance = np.where(a * b > 0, -1, 1) * np.minimum(np.abs(a), np.abs(b))
        case "dots":
            distance = np.hypot(*_cell(u, v)) - 0.5 * share
        case _:
            a, b = _cell(u, v)
            petals = int(rng.integers(4, 7))
            radius = 0.34 + 0.1 * np.cos(petals * np.arctan2(b, a))
            distance = np.maximum(np.hypot(a, b) - radius, 0.09 - np.hypot(a, b))
    return 1 - step(distance.astype(np.float32), -soft, soft)


def _cell(u: Plane, v: Plane) -> tuple[Plane, Plane]:
    """Return the place within the cell, every other row shifted by half."""
    row = np.floor(v)
    return single((u + 0.5 * (row % 2)) % 1 - 0.5), single(v - row - 0.5)
