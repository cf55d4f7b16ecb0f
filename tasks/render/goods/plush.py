"""A plush toy: ellipsoids with fur, a knitted jumper, a face, a hang tag."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category
from tasks.render.artwork import Mark, Outline, Panel
from tasks.render.colours import BLACK, RGB, WHITE, Palette, contrast, mix, name
from tasks.render.model import Model, Surface, assemble, printed, vector
from tasks.render.products import Product
from tasks.render.shapes import Ellipsoid, Quad
from tasks.render.texture import Plane, noise

Size = tuple[float, float, float]
Draw = Callable[[Panel], None]

COATS: tuple[RGB, ...] = ((196, 150, 104), (232, 220, 200), (150, 146, 148), (120, 84, 60), (226, 176, 186))
EARS: tuple[tuple[Size, Size], ...] = (  # radii and place: a bear's, a rabbit's, a cat's
    ((0.095, 0.095, 0.05), (0.2, 0.91, 0.0)),
    ((0.06, 0.19, 0.045), (0.12, 1.02, -0.02)),
    ((0.085, 0.12, 0.05), (0.18, 0.92, 0.0)),
)
DARK: RGB = (34, 26, 26)
FACE = "the plush toy's face"


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the toy: which animal its ears make it, its coat and its proportions are drawn from `rng`."""
    colours = item.palette
    coat = mix(COATS[rng.integers(len(COATS))], colours.second, 0.15)
    pale = mix(coat, WHITE, 0.55)
    ear_size, ear_at = EARS[rng.integers(len(EARS))]
    head = (rng.uniform(0.24, 0.28), rng.uniform(0.21, 0.235), 0.21)
    hairs = np.asarray(cv2.GaussianBlur(rng.random((256, 640)).astype(np.float32), (3, 3), 0))
    hairs = (hairs - hairs.min()) / (hairs.max() - hairs.min())

    def lump(
        title: str, at: Size, radii: Size, colour: RGB = coat, tilt: float = 0.0, draw: Draw | None = None
    ) -> Surface:
        """A furry ellipsoid."""
        panel = _skin(radii, 0.8 * scale, colour, draw)
        shape = Ellipsoid(vector(*at), vector(*radii), _turned(tilt), 0.05, hairs)
        return printed(title, shape, panel, _fur(rng, panel), 0.0, soft=True)

    def bead(title: str, at: Size, radii: Size, colour: RGB, gloss: float, draw: Draw | None = None) -> Surface:
        """A smooth one."""
        panel = _skin(radii, 0.9 * scale, colour, draw)
        shape = Ellipsoid(vector(*at), vector(*radii), _turned(0.0))
        return printed(title, shape, panel, None, gloss, 0.95, soft=gloss == 0)

    body_size = (0.255, 0.3, 0.225)
    body = _skin(body_size, 0.9 * scale, colours.base, lambda panel: _jumper(panel, item))
    body_shape = Ellipsoid(vector(0, 0.31, 0), vector(*body_size), _turned(0.0))
    surfaces = [
        printed("body", body_shape, body, _knit(rng, body), 0.0, soft=True),
        lump("head", (0, 0.735, 0.02), head, draw=lambda panel: _brow(panel, coat)),
        lump("muzzle", (0, 0.675, 0.185), (0.115, 0.088, 0.085), pale, draw=_smile),
        bead("nose", (0, 0.722, 0.264), (0.04, 0.028, 0.026), DARK, 0.4, _of_face),
    ]
    for side in (-1, 1):
        x, y, z = side * ear_at[0], ear_at[1], ear_at[2]
        inner = (ear_size[0] * 0.62, ear_size[1] * 0.68, ear_size[2] * 0.7)
        surfaces += [
            bead(f"eye{side}", (side * 0.098, 0.775, 0.198), (0.03, 0.032, 0.024), DARK, 0.8, _of_face),
            lump(f"ear{side}", (x, y, z), ear_size, coat, -0.35 * side, partial(_ear, side=side)),
            lump(f"inner-ear{side}", (x, y - 0.01, z + ear_size[2] * 0.45), inner, pale, -0.35 * side),
            lump(f"arm{side}", (side * 0.265, 0.37, 0.07), (0.075, 0.175, 0.085), coat, 0.5 * side),
            lump(f"leg{side}", (side * 0.175, 0.1, 0.19), (0.1, 0.1, 0.17)),
            bead(
                f"sole{side}", (side * 0.178, 0.105, 0.325), (0.082, 0.085, 0.045), pale, 0.0,
                partial(_sole, item=item, pale=pale, side=side),
            ),
        ]  # fmt: skip
    surfaces += [
        lump("tail", (0, 0.14, -0.23), (0.08, 0.08, 0.08), pale, draw=_tail),
        _hang_tag(item, scale),
        _care_label(item, scale, rng),
    ]
    large = [s.shape for s in surfaces if isinstance(s.shape, Ellipsoid) and s.shape.radii.max() > 0.09]
    lumps = [(*shape.centre, shape.radii.mean()) for shape in large if shape.radii.min() > 0.07]
    return assemble(
        surfaces, [replace(shape, fur=0.0, hairs=None) for shape in large], lumps=np.array(lumps, np.float32)
    )


def _skin(radii: Size, scale: float, colour: RGB, draw: Draw | None) -> Panel:
    """Return the picture of an ellipsoid, true to scale at its front."""
    panel = Panel(2 * np.pi * radii[0], np.pi * radii[1], scale, colour)
    if draw is not None:
        draw(panel)
    return panel


def _jumper(panel: Panel, item: Product) -> None:
    colours = item.palette
    panel.pattern((0, 0.6, 1, 0.76), item.pattern, colours, 0.07, "pattern")
    panel.fill((0, 0.6, 1, 0.608), colours.ink)
    panel.fill((0, 0.752, 1, 0.76), colours.ink)
    panel.text((0.37, 0.355, 0.63, 0.49), item.brand, item.font, colours.ink, "brand", spread=True)
    panel.text((0.39, 0.52, 0.61, 0.565), item.line, "sans", colours.ink, "line")
    panel.stitches(np.array([[0.02, 0.1], [0.02, 0.95]]), mix(colours.base, BLACK, 0.3))
    panel.fill((0, 0, 1, 0.2), colours.accent)
    panel.mark("neckband", Category.OBJECT_DETAIL, "the knitted neckband", (0.3, 0.14, 0.7, 0.2), colours.accent)


def _brow(panel: Panel, coat: RGB) -> None:
    panel.marks.append(Mark("face", Category.FACE, FACE, _oval(0.5, 0.52, 0.19, 0.36), name(coat)))
    panel.stitches(np.array([[0.5, 0.06], [0.5, 0.36]]), mix(coat, BLACK, 0.25), 0.02)


def _smile(panel: Panel) -> None:
    width, height = panel.image.size
    thick = max(2, round(0.012 * panel.pixel))
    panel.draw.line([(width * 0.5, height * 0.44), (width * 0.5, height * 0.6)], fill=DARK, width=thick)
    for left, right in ((0.4, 0.5), (0.5, 0.6)):
        panel.draw.arc((width * left, height * 0.5, width * right, height * 0.68), 0, 180, fill=DARK, width=thick)
    _of_face(panel)


def _of_face(panel: Panel) -> None:
    panel.whole("face", FACE, DARK, Category.FACE)


def _ear(panel: Panel, side: int) -> None:
    panel.whole(f"ear{side}", "the ear", DARK)


def _tail(panel: Panel) -> None:
    panel.whole("tail", "the tail", WHITE)


def _sole(panel: Panel, item: Product, pale: RGB, side: int) -> None:
    accent = item.palette.accent if contrast(item.palette.accent, pale) > 1.8 else mix(item.palette.accent, BLACK, 0.5)
    pad = Palette(pale, DARK, accent, item.palette.second)
    panel.logo((0.5, 0.45), 0.055, item.logo, "plain", pad, f"foot-logo{side}")


def _care_label(item: Product, scale: float, rng: np.random.Generator) -> Surface:
    label = Panel(0.1, 0.12, scale, WHITE)
    label.text((0.1, 0.1, 0.9, 0.35), item.brand, "sans", BLACK)
    label.small_print((0.1, 0.42, 0.9, 0.92), rng, BLACK, 4, "care-print")
    label.whole("care-label", "the sewn-in label", WHITE)
    return printed("care", Quad(vector(-0.08, 0.34, -0.245), vector(-0.1, 0, 0.01), vector(0, -0.12, 0)), label)


def _hang_tag(item: Product, scale: float) -> Surface:
    colours = item.palette
    tag = Panel(0.2, 0.26, scale * 1.4, mix(colours.accent, WHITE, 0.75))
    clear = replace(colours, base=mix(colours.accent, WHITE, 0.75))
    ink = mix(colours.accent, BLACK, 0.75)
    tag.draw.ellipse([tag.image.width * s for s in (0.44, 0.04, 0.56, 0.16)], fill=BLACK)
    tag.logo((0.5, 0.38), 0.052, item.logo, "disc", clear, "tag-logo")
    tag.text((0.08, 0.6, 0.92, 0.76), item.brand, item.font, ink, "tag-brand")
    tag.text((0.14, 0.82, 0.86, 0.92), item.size, "sans", ink, "tag-line")
    shape = Quad(vector(0.255, 0.4, 0.215), vector(0.19, 0.02, -0.06), vector(0.01, -0.25, 0.04))
    return printed("tag", shape, tag)


def _oval(x: float, y: float, rx: float, ry: float) -> Outline:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return tuple((float(x + rx * np.cos(t)), float(y + ry * np.sin(t))) for t in turn)


def _turned(angle: float) -> NDArray[np.float32]:
    """Return axes turned by `angle` about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def _fur(rng: np.random.Generator, panel: Panel) -> Plane:
    """Return a coat's grain: tufts, and hairs lying downwards."""
    height, width = panel.image.height // 2, panel.image.width // 2
    tufts = noise(rng, height, width, 14 * panel.height / 0.6, 30 * panel.width / 1.5)
    hairs = 0.14 * noise(rng, height, width, height / 7, width / 2.5)
    return np.asarray(0.1 * tufts + hairs + 0.1 * noise(rng, height, width, height / 3, width / 2))


def _knit(rng: np.random.Generator, panel: Panel) -> Plane:
    """Return the grain of knitted wool: columns of small Vs."""
    height, width = panel.image.height // 2, panel.image.width // 2
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = max(4, width / 150)
    loops = np.sin(2 * np.pi * (y / period * 0.9 + np.abs((x / period) % 1 - 0.5)))
    columns = np.cos(2 * np.pi * x / period)
    fuzz = noise(rng, height, width, height / 4, width / 4)
    return np.asarray(0.07 * loops - 0.06 * columns + 0.05 * fuzz, np.float32)
