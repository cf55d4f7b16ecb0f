"""Shapes that rays meet: each knows where a ray hits it, which point has which (u, v), and its normal there.

Origins have as many dimensions as rays: (3, 1) or (3, N) for rays (3, N).

Product space: x to the product's left-to-right as seen from the front, y up, z to the front; units of about a product's
height. Rays and points are float32 planes, (3, ...); (u, v) runs 0..1 over the surface, v downwards as in its picture.
`hit` returns the distance along each ray in units of its direction (inf where it misses) with u and v there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.render.texture import Plane, look_up

Points = NDArray[np.floating]  # (3, ...), x, y, z
Hit = tuple[Plane, Plane, Plane]  # distance, u, v

NEAR = 1e-3
FAR = np.float32(np.inf)
PI = float(np.pi)
TURN = 2 * PI


class Shape(Protocol):
    """A surface in product space."""

    def hit(self, origin: Points, rays: Points) -> Hit: ...
    def point(self, u: Plane, v: Plane) -> Points: ...
    def normal(self, u: Plane, v: Plane) -> Points: ...
    def hull(self) -> Points: ...


@dataclass(frozen=True, eq=False)
class Quad:
    """A parallelogram from `corner` (its upper left) along `right` and `down`, seen from its front only.

    `hole` is a box (u0, v0, u1, v1) that rays pass through.
    """

    corner: Points
    right: Points
    down: Points
    hole: tuple[float, float, float, float] | None = None

    def hit(self, origin: Points, rays: Points) -> Hit:
        face = np.cross(self.down, self.right)
        slope = dot(face, rays)
        offset = origin - _column(self.corner, rays)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = -dot(face, offset) / slope
        across, along = self.right / dot(self.right, self.right), self.down / dot(self.down, self.down)
        u = dot(across, offset) + t * dot(across, rays)
        v = dot(along, offset) + t * dot(along, rays)
        met = (slope < 0) & (t > NEAR) & (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        if self.hole is not None:
            left, top, right, bottom = self.hole
            met &= ~((u > left) & (u < right) & (v > top) & (v < bottom))
        return np.where(met, t, FAR), u, v

    def point(self, u: Plane, v: Plane) -> Points:
        return np.stack([c + r * u + d * v for c, r, d in zip(self.corner, self.right, self.down, strict=True)])

    def normal(self, u: Plane, v: Plane) -> Points:
        face = np.cross(self.down, self.right)
        return _spread(face / np.linalg.norm(face), u)

    def hull(self) -> Points:
        ends = np.array([0, 0, 1, 1], np.float32), np.array([0, 1, 0, 1], np.float32)
        return self.point(*ends)


@dataclass(frozen=True, eq=False)
class Frustum:
    """The side of a round body about the y axis, radius `low_radius` at `low` to `high_radius` at `high`.

    u is 0.5 at the front and grows to the right; seen from `inside` it is the wall of a hollow.
    """

    low: float
    high: float
    low_radius: float
    high_radius: float
    inside: bool = False

    def hit(self, origin: Points, rays: Points) -> Hit:
        (ox, oy, oz), (dx, dy, dz) = origin, rays
        slope = np.float32((self.high_radius - self.low_radius) / (self.high - self.low))
        reach = self.low_radius + slope * (oy - self.low)
        a = dx * dx + dz * dz - slope * slope * dy * dy
        b = ox * dx + oz * dz - slope * dy * reach
        c = ox * ox + oz * oz - reach * reach
        with np.errstate(invalid="ignore", divide="ignore"):
            root = np.sqrt(b * b - a * c)
            t = ((root if self.inside else -root) - b) / a
            y = oy + t * dy
            met = (t > NEAR) & (y >= self.low) & (y <= self.high)
            u = 0.5 + np.arctan2(ox + t * dx, oz + t * dz) / TURN
        return np.where(met, t, FAR), u, (self.high - y) / np.float32(self.high - self.low)

    def point(self, u: Plane, v: Plane) -> Points:
        angle = (u - 0.5) * TURN
        radius = self.high_radius + np.float32(self.low_radius - self.high_radius) * v
        y = self.high + np.float32(self.low - self.high) * v
        return np.stack([radius * np.sin(angle), y, radius * np.cos(angle)])

    def normal(self, u: Plane, v: Plane) -> Points:
        angle = (u - 0.5) * TURN
        slope = (self.low_radius - self.high_radius) / (self.high - self.low)
        size = np.float32((-1 if self.inside else 1) / np.hypot(1, slope))
        return np.stack([np.sin(angle) * size, np.full_like(u, slope) * size, np.cos(angle) * size])

    def hull(self) -> Points:
        reach = max(self.low_radius, self.high_radius)
        return _corners((-reach, self.low, -reach), (reach, self.high, reach))


@dataclass(frozen=True, eq=False)
class Disc:
    """A level disc or ring about the y axis, seen from above; (u, v) span its square, v towards the front."""

    height: float
    inner: float
    outer: float

    def hit(self, origin: Points, rays: Points) -> Hit:
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (self.height - origin[1]) / rays[1]
            x, z = origin[0] + t * rays[0], origin[2] + t * rays[2]
            reach = x * x + z * z
        met = (rays[1] < 0) & (t > NEAR) & (reach <= self.outer**2) & (reach >= self.inner**2)
        size = np.float32(2 * self.outer)
        return np.where(met, t, FAR), 0.5 + x / size, 0.5 + z / size

    def point(self, u: Plane, v: Plane) -> Points:
        size, half = np.float32(2 * self.outer), 0.5
        return np.stack([(u - half) * size, np.full_like(u, self.height), (v - half) * size])

    def normal(self, u: Plane, v: Plane) -> Points:
        return _spread(np.array([0, 1, 0], np.float32), u)

    def hull(self) -> Points:
        return _corners((-self.outer, self.height, -self.outer), (self.outer, self.height, self.outer))


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid; `axes` are its own x, y, z as columns. u is longitude, 0.5 at its front; v runs from its top.

    `fur` is the length of its hair relative to its radii: hairs stand out at the outline, from the map `hairs`.
    """

    centre: Points
    radii: Points
    axes: NDArray[np.float32]
    fur: float = 0.0
    hairs: Plane | None = None

    def hit(self, origin: Points, rays: Points) -> Hit:
        frame = (self.axes / self.radii).T
        offset = origin - _column(self.centre, rays)
        start, way = [dot(row, offset) for row in frame], [dot(row, rays) for row in frame]
        a = way[0] * way[0] + way[1] * way[1] + way[2] * way[2]
        middle = -dot(start, way) / a
        nearest = [s + middle * w for s, w in zip(start, way, strict=True)]
        rest = dot(nearest, nearest)  # squared distance of the ray from the centre, in radii
        t = middle - np.sqrt(np.maximum(1 - rest, 0) / a)
        met = rest < 1
        x, y, z = (start[i] + t * way[i] for i in range(3))
        if self.hairs is not None:
            size = np.sqrt(rest)
            x, y, z = x / np.maximum(size, 1), y / np.maximum(size, 1), z / np.maximum(size, 1)
        u = 0.5 + np.arctan2(x, z) / TURN
        v = np.arccos(np.clip(y, -1, 1)) / PI
        if self.hairs is not None:
            fringe = (rest >= 1) & (rest < (1 + self.fur) ** 2)
            rows, columns = self.hairs.shape
            hair = self.hairs[(v * (rows - 1)).astype(np.intp), (u * (columns - 1)).astype(np.intp)]
            met = met | (fringe & (np.sqrt(rest) - 1 < self.fur * hair))
        return np.where(met & (t > NEAR), t, FAR), u, v

    def _unit(self, u: Plane, v: Plane) -> Points:
        around, down = (u - 0.5) * TURN, v * PI
        ring = np.sin(down)
        return np.stack([ring * np.sin(around), np.cos(down), ring * np.cos(around)])

    def point(self, u: Plane, v: Plane) -> Points:
        turned = (self.axes * self.radii) @ self._unit(u, v).reshape(3, -1)
        return turned.reshape(3, *u.shape) + self.centre.reshape(3, *[1] * u.ndim)

    def normal(self, u: Plane, v: Plane) -> Points:
        turned = (self.axes / self.radii) @ self._unit(u, v).reshape(3, -1)
        return np.asarray(turned / np.linalg.norm(turned, axis=0)).reshape(3, *u.shape)

    def hull(self) -> Points:
        half = np.linalg.norm(self.axes * self.radii, axis=1) * (1 + self.fur)
        return _corners(self.centre - half, self.centre + half)


@dataclass(frozen=True, eq=False)
class Handle:
    """Half a ring of oval section at the side of a round body: a mug's handle.

    Its ring of radii `wide` x `tall` lies in the plane z = 0 about (`reach`, `height`); what would lie within `body`
    of the y axis is not there. u runs around the ring, v around its section. Found by sphere tracing.
    """

    reach: float
    height: float
    wide: float
    tall: float
    thick: float
    flat: float  # section's extent in z relative to `thick`
    body: float

    def hit(self, origin: Points, rays: Points) -> Hit:
        ball = Ellipsoid(*self._ball(), np.eye(3, dtype=np.float32))
        back = 9.0  # the ball may hold the origin, so it is met from further off
        start = np.maximum(ball.hit(origin - back * rays, rays)[0] - back, 0)
        near = start < FAR
        distance, u, v = np.full_like(start, FAR), np.zeros_like(start), np.zeros_like(start)
        way = rays[:, near]
        base = np.broadcast_to(origin, rays.shape)[:, near]
        t = start[near]
        length = np.sqrt(dot(way, way))
        for _ in range(30):
            gap = self._distance(*(base + t * way))
            t = t + gap * 0.85 / length
        x, y, z = base + t * way
        met = (self._distance(x, y, z) < 0.0015) & (np.hypot(x, z) >= self.body)
        distance[near] = np.where(met, t, FAR)
        u[near], v[near] = self._uv(x, y, z)
        return distance, u, v

    def _ball(self) -> tuple[Points, Points]:
        """Return the centre and radii of a ball around it."""
        centre = np.array([self.reach, self.height, 0], np.float32)
        return centre, np.full(3, max(self.wide, self.tall) * (1 + self.thick / min(self.wide, self.tall)), np.float32)

    def _distance(self, x: Plane, y: Plane, z: Plane) -> Plane:
        px, py = (x - self.reach) / self.wide, (y - self.height) / self.tall
        ring = (np.sqrt(px * px + py * py) - 1) * np.float32(min(self.wide, self.tall))
        tube: Plane = np.sqrt(ring * ring + (z / self.flat) ** 2) - self.thick
        wall = self.body - np.sqrt(x * x + z * z)
        return np.maximum(tube, wall)

    def _uv(self, x: Plane, y: Plane, z: Plane) -> tuple[Plane, Plane]:
        px, py = (x - self.reach) / self.wide, (y - self.height) / self.tall
        ring = (np.sqrt(px * px + py * py) - 1) * np.float32(min(self.wide, self.tall))
        half = 0.5
        return half + np.arctan2(py, px) / TURN, half + np.arctan2(z / self.flat, ring) / TURN

    def point(self, u: Plane, v: Plane) -> Points:
        around, across = (u - 0.5) * TURN, (v - 0.5) * TURN
        size = 1 + np.float32(self.thick / min(self.wide, self.tall)) * np.cos(across)
        x = self.reach + self.wide * size * np.cos(around)
        y = self.height + self.tall * size * np.sin(around)
        return np.stack([x, y, np.float32(self.thick * self.flat) * np.sin(across)])

    def normal(self, u: Plane, v: Plane) -> Points:
        around, across = (u - 0.5) * TURN, (v - 0.5) * TURN
        out = np.cos(across)
        turned = np.stack(
            [out * np.cos(around) / self.wide, out * np.sin(around) / self.tall, np.sin(across) / self.flat / self.wide]
        )
        return np.asarray(turned / np.linalg.norm(turned, axis=0), np.float32)

    def hull(self) -> Points:
        x, y = self.wide + self.thick, self.tall + self.thick
        z = self.thick * self.flat
        return _corners((self.body * 0.9, self.height - y, -z), (self.reach + x, self.height + y, z))


@dataclass(frozen=True, eq=False)
class Sheet:
    """A cloth: depth z over an upright rectangle, cut to a mask. Found by marching, then bisection.

    `relief` (H, W) is z in units, `mask` (H, W) is above 0.5 where there is cloth; the first row is at the top.
    `side` is +1 where it is seen from the front, -1 from behind; then u runs from right to left.
    """

    left: float
    bottom: float
    width: float
    height: float
    relief: Plane
    mask: Plane
    side: int

    def _at(self, picture: Plane, x: Plane, y: Plane) -> Plane:
        rows, columns = picture.shape
        column = (x - self.left) * np.float32(columns / self.width) - 0.5
        row = np.float32(rows - 0.5) - (y - self.bottom) * np.float32(rows / self.height)
        return look_up(picture, column, row)

    def hit(self, origin: Points, rays: Points) -> Hit:
        sign = self.side
        high, low = np.float32((sign * self.relief).max() + 1e-3), np.float32((sign * self.relief).min() - 1e-3)
        with np.errstate(divide="ignore", invalid="ignore"):
            start = (high - sign * origin[2]) / (sign * rays[2])
            end = (low - sign * origin[2]) / (sign * rays[2])
        facing = (sign * rays[2] < 0) & (end > NEAR)
        start, end = np.where(facing, np.maximum(start, NEAR), 1), np.where(facing, end, 1)

        def above(t: Plane) -> Plane:
            depth = self._at(self.relief, origin[0] + t * rays[0], origin[1] + t * rays[1])
            return np.asarray(sign * (origin[2] + t * rays[2] - depth))

        after, found = start, facing
        if high - low > 0.003:  # a flat sheet needs no march
            after, found = end, np.zeros(start.shape, bool)
            before = start
            for step in range(1, 10):
                t = start + (end - start) * (step / 9)
                below = (above(t) < 0) & ~found
                after = np.where(below, t, after)
                found |= below
                before = np.where(found, before, t)
            for _ in range(6):
                middle = (before + after) * 0.5
                below = above(middle) < 0
                before, after = np.where(below, before, middle), np.where(below, middle, after)
        x, y = origin[0] + after * rays[0], origin[1] + after * rays[1]
        met = facing & found & (self._at(self.mask, x, y) > 0.5)
        u = (x - self.left) / self.width
        v = 1 - (y - self.bottom) / self.height
        met &= (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1)
        return np.where(met, after, FAR), u if self.side > 0 else 1 - u, v

    def _xy(self, u: Plane, v: Plane) -> tuple[Plane, Plane]:
        across = u if self.side > 0 else 1 - u
        return self.left + across * self.width, self.bottom + (1 - v) * self.height

    def point(self, u: Plane, v: Plane) -> Points:
        x, y = self._xy(u, v)
        return np.stack([x, y, self._at(self.relief, x, y)])

    def normal(self, u: Plane, v: Plane) -> Points:
        x, y = self._xy(u, v)
        step = np.float32(self.width / self.relief.shape[1])
        dx = (self._at(self.relief, x + step, y) - self._at(self.relief, x - step, y)) / (2 * step)
        dy = (self._at(self.relief, x, y + step) - self._at(self.relief, x, y - step)) / (2 * step)
        length = self.side / np.sqrt(1 + dx * dx + dy * dy)
        return np.stack([-dx * length, -dy * length, length])

    def hull(self) -> Points:
        low, high = float(self.relief.min()), float(self.relief.max())
        return _corners((self.left, self.bottom, low), (self.left + self.width, self.bottom + self.height, high))


def dot(first: "Points | Sequence[Plane]", second: "Points | Sequence[Plane] | tuple[float, float, float]") -> Plane:
    """Return the inner product of vectors (3, ...)."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _column(vector: Points, like: Points) -> Points:
    """Return a vector (3,) so that it goes with planes such as `like`, (3, ...)."""
    return vector.reshape(3, *[1] * (like.ndim - 1))


def _spread(vector: NDArray[np.floating], like: Plane) -> Points:
    column = vector.astype(np.float32).reshape(3, *[1] * like.ndim)
    return np.broadcast_to(column, (3, *like.shape))


def _corners(low: "tuple[float, ...] | Points", high: "tuple[float, ...] | Points") -> Points:
    ends = np.array([low, high], np.float32)
    return np.array(
        [[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.float32
    ).T
