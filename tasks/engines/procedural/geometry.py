"""Geometry bent: features shifted, swollen and twisted, the border left in place."""

import numpy as np

from tasks.engines.procedural.detail import require_detail
from tasks.engines.procedural.fields import grid, move, smooth_noise, step
from tasks.engines.procedural.region import Colours, Region

STEEPEST = 0.8  # pixels a pixel: at 1 the image would fold


def warp(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Bend the region by a low-order random field and a few local swellings and twists, as misdrawn faces have.

    Raises Refusal when the region is flat.
    """
    require_detail(region)
    x, y = grid(region.shape)
    held = step(region.depth, 0, max(3.0, 0.45 * region.reach))
    size = float(np.sqrt(region.inside.sum()))
    dx, dy = (0.5 * size * 0.14 * smooth_noise(rng, region.shape, 0.45 * size) for _ in range(2))
    rows, columns = np.nonzero(region.depth > 0.35 * region.reach)
    for _ in range(4):
        at = int(rng.integers(len(rows)))
        cx, cy = float(columns[at]), float(rows[at])
        radius = size * rng.uniform(0.18, 0.4)
        near = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * (radius / 2) ** 2))
        swell = rng.choice((-1, 1)) * rng.uniform(0.35, 0.6)
        twist = rng.normal(0, 0.35)
        dx += near * (swell * (x - cx) - twist * (y - cy) + rng.normal(0, 0.06) * size)
        dy += near * (swell * (y - cy) + twist * (x - cx) + rng.normal(0, 0.06) * size)
    dx, dy = held * dx, held * dy
    slopes = [np.abs(np.gradient(part, axis=axis)).max() for part in (dx, dy) for axis in (0, 1)]
    gain = (0.25 + 0.75 * strength) * STEEPEST / max(slopes)
    return move(region.pixels, (gain * dx).astype(np.float32), (gain * dy).astype(np.float32))
