"""Texture made anew from its own statistics."""

import numpy as np
from numpy.typing import NDArray

from tasks.engines.procedural.detail import require_detail
from tasks.engines.procedural.fields import grid, lowpass
from tasks.engines.procedural.region import Colours, Plane, Region, single

SOURCES = 700  # places that tiles may be taken from
SAMPLES = 4  # a tile is described by SAMPLES x SAMPLES blurred colours


def resynthesise(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Lay the region anew with tiles of its own detail over its own shading.

    Image quilting (Efros and Freeman 2001), all tiles at once: four tilings, each shifted by half a tile, cover every
    pixel four times; tiles are drawn from places that look alike when blurred; each pixel takes the tiling that
    suits the shading best there, so that seams wander where they show least. Strength widens the tiles and the band of
    detail that is replaced. Raises Refusal when the region is flat.
    """
    require_detail(region)
    tile = 2 * round(float(np.clip((0.35 + 0.4 * strength) * region.reach, 4, 6 + 8 * strength)))
    shading = lowpass(region.pixels, tile * (0.1 + 0.25 * strength))
    detail = region.pixels - shading
    guide = lowpass(region.lab, tile * 0.15)
    rows, columns = np.nonzero(region.inside)
    chosen = rng.integers(len(rows), size=SOURCES)
    height, width = region.shape
    sources = np.stack([rows[chosen], columns[chosen]], 1) - tile // 2
    sources = np.clip(sources, 0, np.maximum((height - tile, width - tile), 0))
    described = _describe(guide, sources, tile)
    x, y = grid(region.shape)
    total = np.zeros((height, width, 1), np.float32)
    laid = np.zeros_like(detail)
    for offset_y, offset_x in ((0, 0), (0, tile // 2), (tile // 2, 0), (tile // 2, tile // 2)):
        row, column = ((y + offset_y) // tile).astype(int), ((x + offset_x) // tile).astype(int)
        across = int(column.max()) + 1
        corners = np.stack(np.divmod(np.arange((int(row.max()) + 1) * across), across), 1) * tile
        corners = corners - np.array([offset_y, offset_x])
        source = sources[_match(described, _describe(guide, corners, tile), sources, corners, tile, rng)]
        shift = (source - corners)[row * across + column]  # (h, w, 2)
        from_y = np.clip(y.astype(int) + shift[..., 0], 0, height - 1)
        from_x = np.clip(x.astype(int) + shift[..., 1], 0, width - 1)
        mismatch = np.square(guide[from_y, from_x] - guide).sum(-1)
        weight = _tent((y + offset_y) % tile, tile) * _tent((x + offset_x) % tile, tile) * np.exp(-mismatch / 300)
        weight = np.power(weight + 1e-4, 5)[..., None]
        laid += weight * detail[from_y, from_x]
        total += weight
    return single(shading + laid / total)


def _describe(guide: Colours, corners: NDArray[np.int_], tile: int) -> NDArray[np.float32]:
    """Return (n, SAMPLES * SAMPLES * 3) blurred colours of the tiles whose upper left `corners` (n, 2) are given."""
    steps = ((np.arange(SAMPLES) + 0.5) * tile / SAMPLES).astype(int)
    rows = np.clip(corners[:, 0, None] + steps, 0, guide.shape[0] - 1)
    columns = np.clip(corners[:, 1, None] + steps, 0, guide.shape[1] - 1)
    return single(guide[rows[:, :, None], columns[:, None, :]].reshape(len(corners), -1))


def _match(
    described: NDArray[np.float32],
    wanted: NDArray[np.float32],
    sources: NDArray[np.int_],
    corners: NDArray[np.int_],
    tile: int,
    rng: np.random.Generator,
) -> NDArray[np.int_]:
    """Return for each wanted tile the index of one of the three sources most alike, none of them in its own place."""
    distance = (described**2).sum(1)[None] - 2 * wanted @ described.T
    near = np.abs(sources[None] - corners[:, None]).max(-1) < 0.6 * tile
    distance[near] += 1e6
    best = np.argpartition(distance, 3, axis=1)[:, :3]
    picked: NDArray[np.int_] = best[np.arange(len(best)), rng.integers(3, size=len(best))]
    return picked


def _tent(position: Plane, tile: int) -> Plane:
    return single(1 - np.abs(2 * (position + 0.5) / tile - 1))
