"""What lies under and behind products: cloth, stone, planks, grass, plaster, as pictures."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.render.colours import RGB, from_hsv, mix
from tasks.render.texture import Plane, noise

WOODS: tuple[RGB, ...] = ((186, 142, 98), (140, 96, 62), (96, 66, 46), (206, 180, 148), (122, 112, 102))


def cover(setting: str, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Return what covers the ground or the wall of a setting, three units wide: (size, size, 3) sRGB."""
    match setting:
        case "studio":
            base = from_hsv(rng.random(), rng.uniform(0.0, 0.3), rng.uniform(0.7, 0.96))
            return _tinted(base, 0.008 * noise(rng, size, size, size / 2, size / 2))
        case "table":
            return _planks(rng, size)
        case "cloth":
            y, x = np.mgrid[0:size, 0:size].astype(np.float32)
            base = from_hsv(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.55, 0.9))
            thread = np.sin(x * 1.9) * 0.5 + np.sin(y * 1.9) * 0.5
            yarn = noise(rng, size, size, size / 3, 30) + noise(rng, size, size, 30, size / 3)
            return _tinted(base, 0.05 * (thread + yarn) + 0.09 * noise(rng, size, size, 5, 5))
        case "stone":
            base = from_hsv(rng.uniform(0.05, 0.15), rng.uniform(0.02, 0.14), rng.uniform(0.4, 0.85))
            grain = sum(0.16 / 1.5**n * noise(rng, size, size, 4 * 2**n, 4 * 2**n) for n in range(7))
            bends = (
                noise(rng, size, size, 3, 3) + 0.4 * noise(rng, size, size, 9, 9) + 0.2 * noise(rng, size, size, 40, 40)
            )
            depth = rng.uniform(-0.12, 0.16) * np.clip(noise(rng, size, size, 5, 5) + 0.3, 0, 1)
            return _tinted(base, np.asarray(grain) * 0.7 + depth * np.exp(-np.abs(bends) / 0.05))
        case "garden":
            return _grass(rng, size)
        case _:  # plaster
            base = from_hsv(rng.random(), rng.uniform(0.0, 0.28), rng.uniform(0.62, 0.92))
            rough = (
                noise(rng, size, size, 40, 40)
                + 0.5 * noise(rng, size, size, 110, 110)
                + 0.2 * noise(rng, size, size, size / 3, size / 3)
            )
            relief = np.gradient(rough, axis=0) * rng.uniform(0.05, 0.3) * size / 1024
            return _tinted(base, np.clip(relief, -0.1, 0.1) + 0.03 * noise(rng, size, size, 4, 4))


def _tinted(base: RGB, grain: Plane) -> NDArray[np.uint8]:
    return np.clip(np.array(base, np.float32) * (1 + grain[..., None]) + 0.5, 0, 255).astype(np.uint8)


def _planks(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    base = WOODS[rng.integers(len(WOODS))]
    count = int(rng.integers(5, 10))
    picture = np.zeros((size, size, 3), np.uint8)
    edges = np.linspace(0, size, count + 1).astype(int)
    for top, bottom in pairwise(edges):
        rows = bottom - top
        bend = 6 * noise(rng, rows, size, 2, 3) + np.linspace(0, rng.uniform(2, 6), rows, dtype=np.float32)[:, None]
        rings = np.sin(bend * rng.uniform(4, 8)) * 0.05
        fibres = 0.07 * noise(rng, rows, size, rows / 2, 8) + 0.05 * noise(rng, rows, size, rows / 1.5, 30)
        pores = -0.12 * np.clip(noise(rng, rows, size, rows / 1.2, size / 25) - 0.55, 0, 1)
        plank = _tinted(mix(base, (60, 40, 26), float(rng.uniform(0, 0.25))), rings + fibres + pores)
        plank[:1] = plank[:1] // 3
        plank[-1:] = (plank[-1:] * 0.6).astype(np.uint8)
        picture[top:bottom] = plank
    return picture if rng.random() < 0.6 else np.ascontiguousarray(picture.transpose(1, 0, 2))


def _grass(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = (38, 58, 24)
    count = 5200
    starts, turns = rng.uniform(0, size, (count, 2)), rng.normal(0, 0.7, count)
    lengths, tones = rng.uniform(0.02, 0.05, count) * size, rng.uniform(0, 1, (count, 2))
    for place in range(count):
        x, y = starts[place]
        end = (round(x + lengths[place] * np.sin(turns[place])), round(y - lengths[place] * np.cos(turns[place])))
        green = from_hsv(0.2 + 0.1 * tones[place, 0], 0.55, 0.22 + 0.5 * tones[place, 1] * place / count)
        cv2.line(picture, (round(x), round(y)), end, green, max(1, size // 400), cv2.LINE_AA)
    return picture
