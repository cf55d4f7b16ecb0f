"""Pictures as arrays: noise, grain, halvings, and looking them up at fractional places."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating]
Texture = tuple[NDArray[np.uint8], ...]  # (H, W, 3) sRGB and its halvings


def noise(rng: np.random.Generator, height: int, width: int, rows: float, columns: float) -> Plane:
    """Return smooth noise in -1..1, (height, width), of about `rows` x `columns` bumps."""
    coarse = rng.uniform(-1, 1, (max(2, round(rows) + 1), max(2, round(columns) + 1))).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), -1, 1)


def grained(pixels: NDArray[np.uint8], grain: Plane) -> NDArray[np.uint8]:
    """Return `pixels` times (1 + grain), grain (H, W)."""
    return np.clip(pixels * (1 + grain[..., None]) + 0.5, 0, 255).astype(np.uint8)


def texture_levels(pixels: NDArray[np.uint8]) -> Texture:
    """Return a picture (H, W, 3) with its halvings."""
    levels = [np.ascontiguousarray(pixels)]
    while min(levels[-1].shape[:2]) >= 8:
        height, width = levels[-1].shape[:2]
        levels.append(np.asarray(cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)))
    return tuple(levels)


def sample(texture: Texture, u: Plane, v: Plane, level: Plane) -> Plane:
    """Return linear colours (N, 3) of a texture at (u, v), trilinear between its halvings."""
    top = len(texture) - 1
    level = np.clip(level, 0, top - 0.001)
    whole = level.astype(np.intp)
    share = (level - whole)[:, None]
    colours = np.zeros((len(u), 3), np.float32)
    for step in np.unique(whole):
        which = whole == step
        for picture, weight in ((texture[step], 1 - share[which]), (texture[min(step + 1, top)], share[which])):
            height, width = picture.shape[:2]
            colours[which] += weight * look_up(picture, u[which] * width - 0.5, v[which] * height - 0.5)
    return (colours * (1 / 255)) ** 2


def look_up(picture: NDArray[np.uint8] | Plane, column: Plane, row: Plane) -> Plane:
    """Return `picture` at fractional (column, row), bilinear, edges repeated; planes of any shape, float32 out."""
    count = column.size
    wide = 1024  # OpenCV takes no map longer than 32,767
    padded = -(-max(count, 1) // wide) * wide
    maps = np.zeros((2, padded), np.float32)
    maps[0, :count], maps[1, :count] = column.ravel(), row.ravel()
    found = cv2.remap(
        picture, maps[0].reshape(-1, wide), maps[1].reshape(-1, wide), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    channels = picture.shape[2:]
    return found.reshape(padded, *channels)[:count].reshape(*column.shape, *channels).astype(np.float32, copy=False)
