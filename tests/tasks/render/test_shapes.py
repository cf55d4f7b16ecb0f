import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.render.shapes import FAR, Disc, Ellipsoid, Frustum, Handle, Quad, Shape, Sheet

TURNED = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]], np.float32)
HILLS = (0.05 * np.sin(np.linspace(0, 9, 64))[None] * np.cos(np.linspace(0, 7, 48))[:, None]).astype(np.float32)
CLOTH = np.ones((48, 64), np.float32)


def vector(*xyz: float) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.array(xyz, np.float32)


SHAPES: dict[str, Shape] = {
    "quad": Quad(vector(-0.3, 1, 0.2), vector(0.6, 0, 0.1), vector(0, -1, 0)),
    "side": Frustum(0.1, 0.9, 0.3, 0.25),
    "disc": Disc(0.7, 0.0, 0.4),
    "ellipsoid": Ellipsoid(vector(0.1, 0.5, 0), vector(0.3, 0.2, 0.25), TURNED),
    "handle": Handle(0.42, 0.5, 0.2, 0.26, 0.05, 1.3, 0.2),
    "sheet": Sheet(-0.5, 0.0, 1.0, 0.8, HILLS, CLOTH, 1),
    "sheet's back": Sheet(-0.5, 0.0, 1.0, 0.8, HILLS, CLOTH, -1),
}


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(u=st.floats(0.05, 0.95), v=st.floats(0.1, 0.9))
def test_a_ray_down_the_normal_comes_back_to_its_place(name: str, u: float, v: float) -> None:
    shape = SHAPES[name]
    if name == "handle":
        u = 0.5 + (u - 0.5) * 0.5  # the half that sticks out
    if name == "disc":
        u, v = 0.5 + (u - 0.5) * 0.7, 0.5 + (v - 0.5) * 0.7  # what is round within the square
    place = np.array([u], np.float32), np.array([v], np.float32)
    point, normal = shape.point(*place), shape.normal(*place)
    assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-3)
    ray = (-normal - np.array([[0.05], [0.02], [0.01]])).astype(np.float32)
    origin = (point - 0.02 * ray).astype(np.float32) if name == "handle" else (point - 0.3 * ray).astype(np.float32)
    t, hit_u, hit_v = shape.hit(origin, ray)
    assert np.linalg.norm(origin + t * ray - point) < 4e-3
    assert np.linalg.norm(shape.point(hit_u, hit_v) - point) < 4e-3


@pytest.mark.parametrize("name", SHAPES)
def test_rays_past_the_hull_miss(name: str) -> None:
    shape = SHAPES[name]
    points = shape.hull()
    beside = points.max(axis=1) + 0.05
    origin = np.array([[beside[0]], [points.mean(axis=1)[1]], [3.0]], np.float32)
    t, _, _ = shape.hit(origin, np.array([[0.0], [0.0], [-1.0]], np.float32))
    assert t[0] == FAR


def test_a_hole_lets_rays_through() -> None:
    frame = Quad(vector(-1, 1, 0), vector(2, 0, 0), vector(0, -2, 0), (0.25, 0.25, 0.75, 0.75))
    origin = np.array([[0.0, 0.9], [0.0, 0.0], [2.0, 2.0]], np.float32)
    t, _, _ = frame.hit(origin, np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, -1.0]], np.float32))
    assert t[0] == FAR
    assert t[1] == pytest.approx(2)
