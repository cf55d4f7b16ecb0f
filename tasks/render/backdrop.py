"""Behind the product: the ground it stands on or the wall it hangs before, with its shadow, and what is far."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.ids import stream
from tasks.render.camera import Camera, silhouette
from tasks.render.colours import from_hsv
from tasks.render.covers import cover
from tasks.render.light import Light, Lighting, Look, lighting, smooth
from tasks.render.model import Model
from tasks.render.shapes import Points, dot
from tasks.render.texture import Plane, Texture, look_up, noise, sample, texture_levels

SPAN = 3.0  # units that a cover spans before it is mirrored
EDGE = -2.3  # where the ground ends, behind the product, units
FAR_SIZE = 72  # pixels of the blurred distance
BATHED = 5.0  # units from which light comes


@dataclass(frozen=True, eq=False)
class Ground:
    """The plane a product stands on or hangs before: origin, its two directions, its normal and what covers it."""

    origin: Points
    across: Points
    along: Points
    normal: Points
    standing: bool
    texture: Texture
    shade: Plane  # (S, S) share of key light
    open: Plane  # (S, S) share of ambient light
    reach: float  # the shade maps span -reach..reach


def lay_ground(model: Model, look: Look, azimuth: float, size: int) -> tuple[Ground, Lighting]:
    """Lay a look's ground under a product that is seen from `azimuth` (degrees), for photos of `size` pixels, and
    light both.
    """
    if model.standing:
        turn = np.radians(azimuth)
        origin = np.zeros(3)
        across, along = np.array([np.cos(turn), 0, -np.sin(turn)]), np.array([np.sin(turn), 0, np.cos(turn)])
        normal = np.array([0, 1, 0])
    else:
        points, front = silhouette(model), 1.0 if np.cos(np.radians(azimuth)) > 0 else -1.0
        z = points[2].min() - 0.012 if front > 0 else points[2].max() + 0.012
        origin = np.array([0, 0.5, z])
        across, along, normal = np.array([front, 0, 0]), np.array([0, -1, 0]), np.array([0, 0, front])
    texels = int(np.clip(size * 1.6, 384, 1024))
    texture = texture_levels(cover(look.setting, stream(look.tone, "cover"), texels))
    tone = ((texture[-1].reshape(-1, 3).mean(axis=0) / 255) ** 2).astype(np.float32)
    light = lighting(look, azimuth, tone)
    reach = 1.9 if model.standing else 1.0
    axes = [vector.astype(np.float32) for vector in (origin, across, along, normal)]
    shade, free = _shadows(model, axes, reach, light.lamps[0], look.softness, int(np.clip(size / 7, 40, 88)))
    return Ground(axes[0], axes[1], axes[2], axes[3], model.standing, texture, shade, free, reach), light


def background(ground: Ground, camera: Camera, look: Look, light: Lighting, x: Plane, y: Plane) -> Plane:
    """Return the linear colours (N, 3) behind the product at pixel positions."""
    rays = camera.rays(x, y)
    slope = dot(rays, ground.normal)
    offset = float(np.dot(ground.origin - camera.position, ground.normal))
    t = offset / np.where(slope < -1e-4, slope, -1e-4)
    where = camera.position[:, None] + t * rays - ground.origin[:, None]
    a, b = dot(where, ground.across), dot(where, ground.along)
    if not ground.standing:
        return _lit_ground(ground, camera, light, rays, t, a, b, np.zeros_like(t))
    on = (slope < -1e-4) & (b > EDGE)
    focus = float(np.dot(np.array([0, 0.4, 0]) - camera.position, camera.frame[2]))
    circle = 2 * look.blur * max(camera.width, camera.height) * np.clip(np.abs(t - focus) / t, 0, 1)
    near = np.zeros((len(x), 3), np.float32)
    near[on] = _lit_ground(ground, camera, light, rays[:, on], t[on], a[on], b[on], circle[on])
    sweep = look.setting in ("studio", "plaster")
    if sweep:
        away = float(np.dot(camera.position, ground.along)) - EDGE
        wall = camera.position[:, None] + away / np.maximum(-dot(rays, ground.along), 1e-3) * rays
        far = _wall(light, wall[1], dot(wall, ground.across))
    else:
        far = _distance(look, light, x / camera.width, y / camera.height)
    share = np.where(on, smooth(b, EDGE, EDGE + (1.3 if sweep else 0.02 + 6 * look.blur)), 0)[:, None]
    return np.asarray(near * share + far * (1 - share))


def _lit_ground(
    ground: Ground, camera: Camera, light: Lighting, rays: Points, t: Plane, a: Plane, b: Plane, circle: Plane
) -> Plane:
    """Return the lit ground at plane coordinates (a, b); `circle` is its blur in pixels."""
    density = ground.texture[0].shape[1] / SPAN
    u, v = (1 - np.abs((c / (2 * SPAN) + 0.37) % 1 * 2 - 1) for c in (a, b))  # mirrored tiles
    facing = np.clip(-dot(rays, ground.normal), 0.05, 1)
    texels = t / camera.focal * density * np.maximum(1 / np.sqrt(facing), circle * 0.7)
    albedo = sample(ground.texture, u, v, np.log2(np.maximum(texels, 1e-3)) - 0.2)
    size = ground.shade.shape[0]
    column, row = ((c / ground.reach + 1) * (size / 2) - 0.5 for c in (a, b))
    shade, free = look_up(ground.shade, column, row), look_up(ground.open, column, row)
    received = light.ambient * free[:, None]
    for place, lamp in enumerate(light.lamps):
        lit = max(0.0, float(np.dot(ground.normal, lamp.direction)))
        strength = shade if place == 0 else 0.4 + 0.6 * free
        received = received + (lit * strength)[:, None] * np.array(lamp.colour, np.float32)
    return np.asarray(albedo * received * (1 - 0.05 * np.clip(np.hypot(a, b) - 0.6, 0, 3))[:, None])


def _wall(light: Lighting, height: Plane, side: Plane) -> Plane:
    """Return a wall of the ground's tone, at heights and sides in units, brightest behind the product."""
    key = light.lamps[0]
    received = light.ambient + max(0.1, key.direction[1]) * np.array(key.colour, np.float32)
    glow = 1.04 - 0.12 * np.clip(np.hypot(height - 0.9, side * 0.8) / 2, 0, 1.6) ** 1.5
    return np.asarray(light.bounce * received * glow[:, None])


def _distance(look: Look, light: Lighting, x: Plane, y: Plane) -> Plane:
    """Return a room or a garden far out of focus, with lights in it, at relative positions in the photo."""
    rng, size = stream(look.tone, "distance"), FAR_SIZE
    if look.setting == "garden":
        low, high = from_hsv(rng.uniform(0.2, 0.32), 0.5, 0.34), from_hsv(rng.uniform(0.16, 0.55), 0.25, 0.82)
        uneven = 0.45
    else:
        low = from_hsv(rng.uniform(0.03, 0.13), 0.35, rng.uniform(0.2, 0.45))
        high = from_hsv(rng.random(), 0.2, rng.uniform(0.5, 0.8))
        uneven = 0.27
    ramp = np.linspace(1, 0, size, dtype=np.float32)[:, None, None] ** 0.8
    tones = (np.array(low) * (1 - ramp) + np.array(high) * ramp) / 255
    picture = tones**2 * (1 + uneven * noise(rng, size, size, 5, 7))[..., None]
    for _ in range(int(rng.integers(10, 26))):
        at = (int(rng.integers(0, size)), int(rng.integers(0, round(size * 0.75))))
        disc = np.zeros((size, size), np.float32)
        cv2.circle(disc, at, int(rng.integers(2, 6)), 1.0, -1, cv2.LINE_AA)
        tint = np.array(from_hsv(rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.5), 1.0)) / 255
        picture = picture + disc[..., None] * tint * rng.uniform(0.05, 0.35)
    picture = np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.3))
    exposure = float(light.ambient.mean() + sum(light.lamps[0].colour) / 3 * 0.6)
    return look_up(picture, x * size - 0.5, y * 1.25 * size - 0.5) * np.float32(exposure)


def _shadows(
    model: Model, axes: list[Points], reach: float, key: Light, softness: float, size: int
) -> tuple[Plane, Plane]:
    """Return which share of the key light and of the ambient light reaches the ground, each (size, size)."""
    origin, across, along, normal = axes
    steps = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * reach
    a, b = (grid.ravel() for grid in np.meshgrid(steps, steps))
    start = np.stack([origin[i] + a * across[i] + b * along[i] + 0.004 * normal[i] for i in range(3)])
    main = np.array(key.direction, np.float32)
    side = np.cross(main, [0, 0, 1] if abs(main[2]) < 0.9 else [1, 0, 0]).astype(np.float32)
    side /= np.linalg.norm(side)
    other = np.cross(main, side)
    lit, count = np.zeros(a.size, np.float32), 8
    for place in range(count):  # a sunflower's spread over the lamp's disc
        out, turn = softness * np.sqrt((place + 0.5) / count), 2.4 * place
        lit += ~_hidden(model, start, main + out * np.cos(turn) * side + out * np.sin(turn) * other)
    free, weight = np.zeros(a.size, np.float32), 0.0
    for tilt, turns in ((0.35, 3), (0.8, 5), (1.2, 6)):
        for turn in np.arange(turns) * 2 * np.pi / turns + tilt:
            flat = np.sin(tilt) * (np.cos(turn) * across + np.sin(turn) * along)
            free += np.float32(np.cos(tilt)) * ~_hidden(model, start, flat + np.cos(tilt) * normal)
            weight += float(np.cos(tilt))
    shade = cv2.GaussianBlur((lit / count).reshape(size, size), (0, 0), 0.5 + size * softness * 0.06)
    return np.asarray(shade), np.asarray(cv2.GaussianBlur((free / weight).reshape(size, size), (0, 0), 0.9))


def _hidden(model: Model, points: Points, way: Points) -> NDArray[np.bool_]:
    """Return which points (3, N) the product hides from the light that comes from `way`.

    Rays run from the light to the points: so they meet closed bodies, one-sided as their faces are, from outside.
    """
    hidden = np.zeros(points.shape[1], bool)
    rays = np.ascontiguousarray(np.broadcast_to(-way[:, None], points.shape), np.float32)
    for shape in model.casters:
        hidden |= shape.hit(points - BATHED * rays, rays)[0] < BATHED
    return hidden
