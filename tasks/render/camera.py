"""The pinhole camera, and what its rays meet first."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.render.model import Model
from tasks.render.shapes import FAR, Points
from tasks.render.texture import Plane

NOTHING = -1  # the surface of rays that meet none


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole at `position`; `frame` holds its right, up and forward as rows; `focal` in pixels."""

    position: Points
    frame: NDArray[np.float32]
    focal: float
    width: int
    height: int

    def rays(self, x: Plane, y: Plane) -> Points:
        """Return ray directions (3, ...) through pixel positions (0, 0 is the picture's corner); their length is one
        unit of depth, so that a distance along them is a depth.
        """
        right, up, forward = self.frame
        a, b = (x - self.width / 2) / self.focal, (self.height / 2 - y) / self.focal
        return np.stack([right[i] * a + up[i] * b + forward[i] for i in range(3)]).astype(np.float32, copy=False)

    def project(self, points: Points) -> tuple[Plane, Plane, Plane]:
        """Return x, y in pixels and depth of points (3, ...)."""
        offset = points - self.position.reshape(3, *[1] * (points.ndim - 1))
        a, b, depth = (axis[0] * offset[0] + axis[1] * offset[1] + axis[2] * offset[2] for axis in self.frame)
        return self.width / 2 + self.focal * a / depth, self.height / 2 - self.focal * b / depth, depth


def look(model: Model, azimuth: float, elevation: float, roll: float, spread: float, fill: float,
         shift: tuple[float, float], size: tuple[int, int]) -> Camera:  # fmt: skip
    """Return a camera around the product that frames it.

    Angles in degrees: azimuth grows to the product's right as seen from its front, `spread` is the angle of view
    of the longer side. The product's outline takes `fill` of the frame in its tighter direction, and is moved off the
    middle by `shift` of the room that is left (-1..1 each way). `size` is (width, height) in pixels.
    """
    width, height = size
    az, el, turn = np.radians([azimuth, elevation, roll])
    back = np.array([np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)])
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    right, up = right * np.cos(turn) + up * np.sin(turn), up * np.cos(turn) - right * np.sin(turn)
    frame = np.stack([right, up, -back]).astype(np.float32)
    focal = float(max(size) / 2 / np.tan(np.radians(spread) / 2))
    points = silhouette(model)
    middle = points.mean(axis=1).astype(np.float64)
    distance = 3.0
    camera = Camera((middle + back * distance).astype(np.float32), frame, focal, width, height)
    for _ in range(8):
        x, y, _ = camera.project(points)
        taken = max((x.max() - x.min()) / width, (y.max() - y.min()) / height)
        room_x, room_y = width - (x.max() - x.min()), height - (y.max() - y.min())
        goal_x, goal_y = width / 2 + shift[0] * room_x / 2, height / 2 + shift[1] * room_y / 2
        off_x, off_y = ((x.max() + x.min()) / 2 - goal_x), ((y.max() + y.min()) / 2 - goal_y)
        middle = middle + (right * off_x - up * off_y) * distance / focal
        distance = float(distance * taken / fill)
        camera = Camera((middle + back * distance).astype(np.float32), frame, focal, width, height)
    return camera


def silhouette(model: Model) -> Points:
    """Return points (3, N) spread over all surfaces."""
    u, v = (g.ravel().astype(np.float32) for g in np.meshgrid(np.linspace(0, 1, 13), np.linspace(0, 1, 9)))
    return np.concatenate([surface.shape.point(u, v) for surface in model.surfaces], axis=1)


def cast(model: Model, origin: Points, rays: Points) -> tuple[NDArray[np.int16], Plane, Plane]:
    """Return the first surface each ray (3, N) meets (index, or NOTHING), the uv there (2, N), and the distance."""
    count = rays.shape[1]
    first = np.full(count, NOTHING, np.int16)
    uv, nearest = np.zeros((2, count), np.float32), np.full(count, FAR, np.float32)
    for index, surface in enumerate(model.surfaces):
        t, u, v = surface.shape.hit(origin, rays)
        closer = t < nearest
        first[closer] = index
        uv[0, closer], uv[1, closer], nearest[closer] = u[closer], v[closer], t[closer]
    return first, uv, nearest


def cast_frame(model: Model, camera: Camera) -> tuple[NDArray[np.int16], Plane, Plane]:
    """Cast a ray through each pixel's centre: `cast` in planes (H, W), testing each surface within its bounds only."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float32) + 0.5
    rays = camera.rays(x, y)
    first = np.full((camera.height, camera.width), NOTHING, np.int16)
    uv, nearest = np.zeros((2, *first.shape), np.float32), np.full(first.shape, FAR, np.float32)
    origin = camera.position.reshape(3, 1, 1)
    for index, surface in enumerate(model.surfaces):
        left, right, depth = camera.project(surface.shape.hull())
        if depth.min() <= 0:
            raise ValueError(f"the camera stands within {surface.name}")
        across = slice(max(0, int(left.min()) - 1), max(0, int(left.max()) + 2))
        down = slice(max(0, int(right.min()) - 1), max(0, int(right.max()) + 2))
        part = (down, across)
        if first[part].size == 0:
            continue
        t, u, v = surface.shape.hit(origin, rays[:, down, across])
        closer = t < nearest[part]
        np.copyto(first[part], np.int16(index), where=closer)
        for plane, value in ((uv[0], u), (uv[1], v), (nearest, t)):
            np.copyto(plane[part], value, where=closer)
    return first, uv, nearest
