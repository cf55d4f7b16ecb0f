"""Shading: the colours of rays that meet the product."""

import numpy as np
from numpy.typing import NDArray

from tasks.render.camera import NOTHING, Camera, cast
from tasks.render.light import Lighting, smooth
from tasks.render.model import Model, Surface
from tasks.render.shapes import Points, dot
from tasks.render.texture import Plane, sample


def shade(
    model: Model, camera: Camera, rays: Points, surface: NDArray[np.int16], uv: Plane, depth: Plane,
    light: Lighting,
) -> Plane:  # fmt: skip
    """Return the linear colours (N, 3) of rays that meet the product."""
    colours = np.zeros((len(surface), 3), np.float32)
    order = np.argsort(surface, kind="stable")
    ends = np.searchsorted(surface[order], np.arange(len(model.surfaces) + 1))
    for index, item in enumerate(model.surfaces):
        which = order[ends[index] : ends[index + 1]]
        if len(which):
            colours[which] = _shade_surface(item, model, camera, rays[:, which], uv[:, which], depth[which], light)
    return colours


def _shade_surface(
    item: Surface, model: Model, camera: Camera, rays: Points, uv: Plane, depth: Plane,
    light: Lighting,
) -> Plane:  # fmt: skip
    normal = item.shape.normal(uv[0], uv[1])
    view = -rays / np.sqrt((rays * rays).sum(axis=0))
    facing = np.clip((normal * view).sum(axis=0), 0.02, 1)
    texels = depth / camera.focal * item.density / np.sqrt(facing)
    albedo = sample(item.texture, uv[0], uv[1], np.log2(np.maximum(texels, 1e-3)) - 0.25)
    where = item.shape.point(uv[0], uv[1])
    clear = _clearance(model, where, normal)
    up = 0.5 + 0.5 * normal[1]
    received = (light.ambient * up[:, None] + 0.6 * light.ambient * light.bounce * (1 - up)[:, None]) * clear[:, None]
    wrap = 0.25 if item.soft else 0.0  # light that goes round the corner in wool and cloth
    for lamp in light.lamps:
        lit = np.clip((dot(normal, lamp.direction) + wrap) / (1 + wrap), 0, 1) * (0.35 + 0.65 * clear)
        received += lit[:, None] * np.array(lamp.colour, np.float32)
    colour: Plane = albedo * received
    if item.soft:  # pile catches light where it is seen edge on
        colour += (0.1 * (1 - facing) ** 3 * clear)[:, None] * albedo**0.5 * light.ambient
    if item.gloss > 0:
        mirror = 2 * (normal * view).sum(axis=0) * normal - view
        shine = _surroundings(mirror, light, item.sharp) * clear[:, None]
        fresnel = (1 - facing)[:, None] ** 5
        if item.metal:
            colour = colour * (1 - item.gloss * 0.8) + item.gloss * shine * albedo * 1.25
        else:
            share = item.gloss * (0.055 + 0.5 * fresnel)
            colour = colour * (1 - share) + share * shine
    return colour


def _clearance(model: Model, where: Points, normal: Points) -> Plane:
    """Return the share (0..1) of ambient light that the product's own lumps and the ground leave to each point.

    A sphere of radius r at distance d in direction w keeps max(n.w, 0) (r/d)^2 of the light away (a distant sphere's
    form factor).
    """
    clear = np.ones(where.shape[1], np.float32)
    for x, y, z, radius in model.lumps:
        wx, wy, wz = x - where[0], y - where[1], z - where[2]
        square = wx * wx + wy * wy + wz * wz
        away = np.sqrt(square)
        outside = np.clip((away - radius * 0.98) / (radius * 0.25), 0, 1)  # none from the lump the point lies on
        facing = np.clip((normal[0] * wx + normal[1] * wy + normal[2] * wz) / np.maximum(away, 1e-3) + 0.1, 0, 1)
        clear *= 1 - 0.75 * outside * facing * np.minimum(radius * radius / np.maximum(square, 1e-4), 1)
    if model.standing:
        clear *= 1 - 0.45 * np.exp(-np.maximum(where[1], 0) / 0.05) * (1 - 0.9 * np.clip(normal[1], 0, 1))
    return clear


def _surroundings(mirror: Points, light: Lighting, sharp: float) -> Plane:
    """Return what a mirror ray (3, N) sees: ceiling, ground, and tall softboxes, blurred when the surface is."""
    up = mirror[1]
    horizon = smooth(up, -0.5 + 0.4 * sharp, 0.5 - 0.4 * sharp)[:, None]
    colour: Plane = light.ambient * (
        light.bounce * 0.7 * (1 - horizon) + horizon * (0.55 + 0.35 * np.clip(up, 0, 1)[:, None])
    )
    level = np.sqrt(mirror[0] ** 2 + mirror[2] ** 2) + 1e-3
    upright = smooth(up, -0.75, -0.4) * smooth(-up, -0.97, -0.8)
    for lamp in light.lamps:
        x, _, z = lamp.direction
        near = (mirror[0] * x + mirror[2] * z) / (level * np.hypot(x, z))  # a softbox is a tall strip
        soft = 0.005 + 0.25 * (1 - sharp)
        box = smooth(near, lamp.width - soft, lamp.width + soft * 0.5) * upright
        colour = colour + box[:, None] * np.array(lamp.colour, np.float32) * (8 * sharp * sharp + 0.6)
    return colour


def antialiased(model: Model, camera: Camera, x: Plane, y: Plane, behind: Plane, light: Lighting) -> Plane:
    """Return the colours of pixels at the product's edges, each the mean of four rays (a rotated grid)."""
    dx, dy = np.array([[-0.125, 0.375, 0.125, -0.375], [-0.375, -0.125, 0.375, 0.125]], np.float32)[:, :, None]
    rays = camera.rays((x + dx).ravel(), (y + dy).ravel())
    surface, uv, depth = cast(model, camera.position.reshape(3, 1), rays)
    colours = np.tile(behind, (4, 1))
    met = surface != NOTHING
    colours[met] = shade(model, camera, rays[:, met], surface[met], uv[:, met], depth[met], light)
    return np.asarray(colours.reshape(4, -1, 3).mean(axis=0))


def edges(surface: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) beside another surface."""
    edge = np.zeros(surface.shape, bool)
    down, across = surface[1:] != surface[:-1], surface[:, 1:] != surface[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    return edge
