"""A photo taken: what the rays meet, shaded, before its background, developed as a camera would."""

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Pixels
from tasks.render.backdrop import background, lay_ground
from tasks.render.camera import NOTHING, Camera, cast_frame
from tasks.render.light import Look
from tasks.render.model import Model
from tasks.render.shading import antialiased, edges, shade
from tasks.render.texture import Plane

OFF = 0.003  # product units: hair further off its skin is no part of the surface


def photograph(
    model: Model, camera: Camera, look: Look, azimuth: float, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.int16], NDArray[np.float32]]:
    """Render a photo: pixels (H, W, 3), the surface at each pixel (H, W) and its uv (H, W, 2).

    Hair that stands out beyond a body's outline is in the pixels only: it has no place on the surface.
    """
    surface, uv, depth = cast_frame(model, camera)
    ground, light = lay_ground(model, look, azimuth, max(camera.width, camera.height))
    edge, inside = edges(surface), surface != NOTHING
    bare = ~inside | edge
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32) + 0.5
    colour = np.zeros((camera.height, camera.width, 3), np.float32)
    colour[bare] = background(ground, camera, look, light, x[bare], y[bare])
    behind = colour[edge]
    rays = camera.rays(x[inside], y[inside])
    colour[inside] = shade(model, camera, rays, surface[inside], uv[:, inside], depth[inside], light)
    colour[edge] = antialiased(model, camera, x[edge], y[edge], behind, light)
    surface[inside] = np.where(
        _stands_out(model, camera, rays, surface[inside], uv[:, inside], depth[inside]), NOTHING, surface[inside]
    )
    return _developed(colour, rng), surface, np.ascontiguousarray(np.moveaxis(uv, 0, 2), np.float32)


def _stands_out(
    model: Model, camera: Camera, rays: Plane, surface: NDArray[np.int16], uv: Plane, depth: Plane
) -> NDArray[np.bool_]:
    """Return which rays (N,) end off the place that they are said to meet."""
    off = np.zeros(len(surface), bool)
    for index in np.unique(surface):
        which = surface == index
        met = camera.position[:, None] + depth[which] * rays[:, which]
        off[which] = np.linalg.norm(met - model.surfaces[index].shape.point(*uv[:, which]), axis=0) > OFF
    return off


def _developed(colour: Plane, rng: np.random.Generator) -> Pixels:
    """Return a photo of linear light: a lens's softness and fall-off, highlights rolled off, root, sensor noise."""
    height, width = colour.shape[:2]
    colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), 0.42), np.float32)
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    colour *= (1 - np.float32(rng.uniform(0.02, 0.09)) * (x * x + y * y))[..., None]
    knee = np.float32(0.72)
    over = np.maximum(colour - knee, 0)
    colour = np.minimum(colour, knee) + over / (1 + over / (1 - knee))
    colour = np.sqrt(np.maximum(colour, 0)) * 255
    grain = rng.standard_normal((height, width), np.float32)[..., None] * np.float32(rng.uniform(0.6, 1.8))
    tint = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32) * np.float32(rng.uniform(0.3, 0.9))
    colour += grain + np.asarray(cv2.resize(tint, (width, height)))
    return np.asarray(np.clip(colour + 0.5, 0, 255), np.uint8)
