"""What rays meet: surfaces with their pictures, the named parts on them, and the whole of a product."""

from dataclasses import dataclass

import cv2
import numpy as np

from schemas.records import Category
from tasks.render.artwork import Mark, Outline, Panel
from tasks.render.shapes import Points, Shape
from tasks.render.texture import Plane, Texture, grained, texture_levels


@dataclass(frozen=True, eq=False)
class Surface:
    """A shape with its picture. `gloss` (0..1) is how much it mirrors, `metal` whether its mirror is tinted."""

    name: str
    shape: Shape
    texture: Texture
    density: float  # texels a unit
    marks: tuple[Mark, ...] = ()
    gloss: float = 0.15
    sharp: float = 0.5
    metal: bool = False
    soft: bool = False


@dataclass(frozen=True)
class Part:
    """Something on a product that can be named: its category, and its outlines on surfaces (index, corners in uv)."""

    id: str
    category: Category
    subject: str
    text: str | None
    colour: str
    regions: tuple[tuple[int, Outline], ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A product as rays meet it; `standing` on the ground, or else hung before a wall.

    `casters` are the shapes that throw its shadow; `lumps` (N, 4) are spheres x, y, z, radius that keep light from what
    is near them.
    """

    surfaces: tuple[Surface, ...]
    parts: tuple[Part, ...]
    standing: bool
    casters: tuple[Shape, ...]
    lumps: Plane


def assemble(surfaces: list[Surface], casters: list[Shape], standing: bool = True, lumps: Plane | None = None) -> Model:
    """Gather the marks of all surfaces into parts: marks of one id are one part."""
    found: dict[str, tuple[Mark, list[tuple[int, Outline]]]] = {}
    for index, surface in enumerate(surfaces):
        for mark in surface.marks:
            found.setdefault(mark.id, (mark, []))[1].append((index, mark.outline))
    parts = tuple(Part(m.id, m.category, m.subject, m.text, m.colour, tuple(regions)) for m, regions in found.values())
    empty = np.zeros((0, 4), np.float32)
    return Model(tuple(surfaces), parts, standing, tuple(casters), empty if lumps is None else lumps)


def printed(
    title: str,
    shape: Shape,
    panel: Panel,
    grain: Plane | None = None,
    gloss: float = 0.15,
    sharp: float = 0.5,
    metal: bool = False,
    soft: bool = False,
) -> Surface:
    """Return a shape with a panel's print on it; `grain` (any size) lightens and darkens it, resized to it."""
    pixels = panel.pixels()
    if grain is not None:
        pixels = grained(pixels, np.asarray(cv2.resize(grain, (pixels.shape[1], pixels.shape[0]))))
    density = pixels.shape[1] / panel.width
    return Surface(title, shape, texture_levels(pixels), density, tuple(panel.marks), gloss, sharp, metal, soft)


def vector(*xyz: float) -> Points:
    """Return a vector (3,)."""
    return np.array(xyz, np.float32)
