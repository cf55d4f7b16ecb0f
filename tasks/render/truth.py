"""What a rendered photo knows of itself: where each part lies, what two photos share, which point is which."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category, Mask, Pixels, Polygon
from tasks.render.camera import NOTHING, Camera, cast
from tasks.render.model import Model, Part
from tasks.render.products import Product
from tasks.render.shapes import Points, Shape
from tasks.render.texture import Plane

SAME_PLACE = 0.006  # product units: a ray that ends so near a point has met it
CORNERS = 64  # a polygon of the records has no more
GRID = 24  # a part's surface is probed at so many points each way
LEAST_PIXELS = 12  # of a part that counts as seen


@dataclass(frozen=True)
class View:
    """How a photo was taken: angles in degrees, `side` of the product that it shows (front or back)."""

    number: int
    side: str
    azimuth: float
    elevation: float
    roll: float
    fill: float
    setting: str
    quality: int  # of its JPEG
    width: int
    height: int


@dataclass(frozen=True)
class SeenPart:
    """A part in a photo: its outline (relative, x right, y down), the share of its surface that shows, and the share of
    the photo it takes.
    """

    id: str
    category: Category
    subject: str
    text: str | None
    colour: str
    polygon: Polygon
    visible_share: float
    area_share: float


@dataclass(frozen=True, eq=False)
class Render:
    """A photo with its truth. `surface` (H, W) is the index of the product's surface at each pixel, -1 for background;
    `uv` (H, W, 2) the place on it.
    """

    product: Product
    view: View
    pixels: Pixels
    surface: NDArray[np.int16]
    uv: NDArray[np.float32]
    parts: tuple[SeenPart, ...]
    model: Model
    camera: Camera


def map_points(
    target: Render, reference: Render, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where relative points (N, 2) of `target` lie in `reference`, (N, 2), and which are visible there, (N,).

    Points on the background, and those outside the reference's frame or hidden in it, are not visible; background
    points map to NaN. Raises ValueError when the photos show products of different looks.
    """
    _same_look(target, reference)
    size = np.array([target.camera.width, target.camera.height])
    x, y = (np.asarray(points, np.float64) * size).astype(np.float32).T
    surface, uv, _ = cast(target.model, target.camera.position.reshape(3, 1), target.camera.rays(x, y))
    mapped, visible = _seen_by(reference.camera, reference.model, surface, uv)
    return mapped / [reference.camera.width, reference.camera.height], visible


def visible_in(target: Render, reference: Render, polygon: Polygon) -> float:
    """Return which share (0..1) of the product's pixels within a polygon of `target` is visible in `reference`.

    0 where the polygon holds nothing of the product (`on_product` tells). Raises ValueError as `map_points`.
    """
    _same_look(target, reference)
    inside = region(polygon, target.surface.shape) & (target.surface != NOTHING)
    rows, columns = np.nonzero(inside)
    if not len(rows):
        return 0.0
    step = max(1, len(rows) // 4000)
    rows, columns = rows[::step], columns[::step]
    _, visible = _seen_by(reference.camera, reference.model, target.surface[rows, columns], target.uv[rows, columns].T)
    return float(visible.mean())


def on_product(render: Render, polygon: Polygon) -> float:
    """Return which share (0..1) of a polygon's pixels lies on the product."""
    inside = region(polygon, render.surface.shape)
    return float((render.surface[inside] != NOTHING).mean()) if inside.any() else 0.0


def region(polygon: Polygon, shape: tuple[int, ...]) -> Mask:
    """Return the pixels (H, W) whose centres lie within a relative polygon."""
    height, width = shape[:2]
    corners = np.array(polygon) * [width, height] - 0.5
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 1, shift=4)
    return mask.astype(bool)


def see_parts(
    model: Model, camera: Camera, surface: NDArray[np.int16], uv: NDArray[np.float32]
) -> tuple[SeenPart, ...]:
    """Return those parts of which something shows, with their outlines."""
    masks = {part.id: part_mask(part, surface, uv) for part in model.parts}
    shown = [part for part in model.parts if masks[part.id].sum() >= LEAST_PIXELS]
    shares = _visible_shares(shown, model, camera)
    seen = []
    for part, share in zip(shown, shares, strict=True):
        mask = masks[part.id]
        polygon = _outline(mask)
        if polygon is not None:
            area = round(float(mask.mean()), 6)
            seen.append(
                SeenPart(part.id, part.category, part.subject, part.text, part.colour, polygon, round(share, 4), area)
            )
    return tuple(seen)


def part_mask(part: Part, surface: NDArray[np.int16], uv: NDArray[np.float32]) -> Mask:
    """Return the pixels (H, W) that show a part."""
    mask = np.zeros(surface.shape, bool)
    for index, outline in part.regions:
        rows, columns = np.nonzero(surface == index)
        if len(rows):
            u, v = uv[rows, columns].T
            mask[rows, columns] |= _within(outline, u, v)
    return mask


def _visible_shares(parts: list[Part], model: Model, camera: Camera) -> list[float]:
    """Return the visible share of each part: a grid over its outlines, each probe weighing the area it stands for."""
    owners, indices, places, weights = [], [], [], []
    steps = (np.arange(GRID, dtype=np.float32) + 0.5) / GRID
    for number, part in enumerate(parts):
        for index, outline in part.regions:
            corners = np.array(outline, np.float32)
            low, high = corners.min(axis=0), corners.max(axis=0)
            u, v = (g.ravel() for g in np.meshgrid(*(low[i] + steps * (high[i] - low[i]) for i in (0, 1))))
            shape = model.surfaces[index].shape
            inside = _within(outline, u, v) & _exists(shape, u, v)
            u, v = u[inside], v[inside]
            du, dv = (high - low) / GRID / 2
            across = shape.point(u + du, v) - shape.point(u - du, v)
            along = shape.point(u, v + dv) - shape.point(u, v - dv)
            weights.append(np.linalg.norm(np.cross(across.T, along.T), axis=1))
            places.append(np.stack([u, v]))
            indices.append(np.full(u.size, index, np.int16))
            owners.append(np.full(u.size, number))
    if not owners:
        return []
    owner, weight = np.concatenate(owners), np.concatenate(weights)
    _, visible = _seen_by(camera, model, np.concatenate(indices), np.concatenate(places, axis=1))
    total = np.bincount(owner, weight, len(parts))
    return [float(share) for share in np.bincount(owner, weight * visible, len(parts)) / np.maximum(total, 1e-12)]


def _exists(shape: Shape, u: Plane, v: Plane) -> NDArray[np.bool_]:
    """Return which places are on the shape: a cut cloth, a ring or a holed frame has less than its whole (u, v)."""
    normal = shape.normal(u, v)
    return np.asarray(shape.hit(shape.point(u, v) + 0.01 * normal, -normal)[0] < 0.02)


def _seen_by(
    camera: Camera, model: Model, surface: NDArray[np.int16], uv: Plane
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where points of surfaces fall in a camera's picture, (N, 2) pixels, and whether it sees them."""
    points = _points(model, surface, uv)
    x, y, depth = camera.project(points)
    visible = (surface != NOTHING) & (depth > 0) & (x >= 0) & (x <= camera.width) & (y >= 0) & (y <= camera.height)
    which = np.nonzero(visible)[0]
    rays = camera.rays(x[which], y[which])
    met, where, _ = cast(model, camera.position.reshape(3, 1), rays)
    ends = _points(model, met, where)
    gap = np.linalg.norm(ends - points[:, which], axis=0)
    visible[which] = (met == surface[which]) & (gap < SAME_PLACE)
    return np.stack([x, y], axis=1).astype(np.float64), visible


def _points(model: Model, surface: NDArray[np.int16], uv: Plane) -> Points:
    """Return the points (3, N) of places on surfaces; NaN for no surface."""
    points = np.full((3, len(surface)), np.nan, np.float32)
    for index in np.unique(surface[surface != NOTHING]):
        which = surface == index
        points[:, which] = model.surfaces[index].shape.point(uv[0, which], uv[1, which])
    return points


def _within(outline: tuple[tuple[float, float], ...], u: Plane, v: Plane) -> NDArray[np.bool_]:
    """Return which places lie within a polygon of texture coordinates (even-odd rule)."""
    inside = np.zeros(u.shape, bool)
    for (x0, y0), (x1, y1) in zip(outline, (*outline[1:], outline[0]), strict=True):
        if y0 != y1:
            crossed = ((v < y0) != (v < y1)) & (u < (x1 - x0) * (v - y0) / (y1 - y0) + x0)
            inside ^= crossed
    return inside


def _outline(mask: Mask) -> Polygon | None:
    """Return the outline of a mask's largest piece, relative, with at most CORNERS corners."""
    pieces, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(pieces, key=cv2.contourArea)
    height, width = mask.shape
    tolerance = 1.1  # pixels: less would follow their stairs
    corners = cv2.approxPolyDP(largest, tolerance, True)
    while len(corners) > CORNERS:
        tolerance *= 1.4
        corners = cv2.approxPolyDP(largest, tolerance, True)
    if len(corners) < 3:
        return None
    return tuple(
        (round(float((x + 0.5) / width), 5), round(float((y + 0.5) / height), 5)) for x, y in corners.reshape(-1, 2)
    )


def _same_look(target: Render, reference: Render) -> None:
    first, second = target.product, reference.product
    if (first.seed, first.look, first.type) != (second.seed, second.look, second.type):
        raise ValueError(f"{first.product_id} and {second.product_id} are different products: they share no surface")
