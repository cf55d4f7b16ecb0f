"""A portrait as an illustrator would paint it: head, hair, eyes, shoulders, drawn with Pillow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tasks.render.colours import BLACK, RGB, WHITE, Palette, from_hsv, mix

Shape = Sequence[tuple[float, float]] | NDArray[np.float64]  # points (x, y)

SKINS: tuple[RGB, ...] = ((246, 214, 190), (232, 186, 152), (205, 150, 112), (160, 106, 74), (112, 72, 50))
HAIRS: tuple[RGB, ...] = ((38, 28, 26), (84, 52, 34), (150, 98, 52), (214, 176, 110), (120, 46, 30), (150, 148, 150))
EYES: tuple[RGB, ...] = ((70, 46, 30), (62, 96, 130), (76, 110, 74), (40, 32, 30))


@dataclass(frozen=True, eq=False)
class Brush:
    """Paints in the face's own space: origin between the eyes' level and the nose, y down, the picture 2 units wide."""

    draw: ImageDraw.ImageDraw
    middle: NDArray[np.float64]
    unit: float

    def at(self, points: Shape) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in self.middle + self.unit * np.asarray(points, np.float64)]

    def fill(self, points: Shape, colour: RGB) -> None:
        self.draw.polygon(self.at(points), fill=colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        self.draw.ellipse([*self.at([(x - rx, y - ry)]), *self.at([(x + rx, y + ry)])], fill=colour)

    def stroke(self, points: Shape, colour: RGB, width: float = 0.012) -> None:
        self.draw.line(self.at(points), fill=colour, width=max(1, round(self.unit * width)))


@dataclass(frozen=True)
class Sitter:
    """Who sits: the measures of the head, the colours, the hair's style (0 long, 1 bob, 2 short, 3 bun)."""

    wide: float
    long: float
    skin: RGB
    hair: RGB
    eye: RGB
    cloth: RGB
    style: int


def portrait(
    rng: np.random.Generator, width: int, height: int, colours: Palette
) -> tuple[Image.Image, NDArray[np.float64]]:
    """Paint a head and shoulders, `width` x `height` pixels, transparent where no figure is.

    Returns the RGBA picture and the outline of the face, (24, 2) in relative coordinates.
    """
    unit = min(width, height * 0.92) / 2
    picture = Image.new("RGBA", (width, height))
    brush = Brush(ImageDraw.Draw(picture), np.array([width / 2, height - 1.12 * unit]), unit)
    skin, hair, eye = (table[rng.integers(len(table))] for table in (SKINS, HAIRS, EYES))
    cloth = mix(from_hsv(rng.random(), rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.85)), colours.accent, 0.5)
    sitter = Sitter(
        rng.uniform(0.36, 0.41), rng.uniform(0.48, 0.54), skin, hair, eye, cloth, int(rng.integers(4))
    )  # fmt: skip
    shade = mix(skin, (96, 40, 40), 0.3)
    _back_hair(brush, sitter)
    _shoulders(brush, sitter, shade)
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    jaw = np.where(np.cos(turn) < 0, 1 - 0.13 * np.cos(turn) ** 2 * np.abs(np.sin(turn)), 1.0)
    face = np.stack([sitter.wide * np.sin(turn) * jaw, -sitter.long * np.cos(turn)], axis=1)
    brush.fill(face, skin)
    for side in (1, -1):
        brush.oval(side * 0.22, 0.14, 0.1, 0.07, mix(skin, (214, 80, 80), 0.22))
    _eyes(brush, sitter, rng.uniform(-0.02, 0.03))
    _nose_and_mouth(brush, skin, shade, rng)
    _fringe(brush, sitter, rng.uniform(-0.2, 0.2))
    if rng.random() < 0.3:
        _glasses(brush)
    return _sidelit(picture, unit, brush.middle), (brush.middle + unit * face[::2]) / [width, height]


def _back_hair(brush: Brush, sitter: Sitter) -> None:
    wide, long, hair = sitter.wide, sitter.long, sitter.hair
    if sitter.style == 3:
        brush.oval(0.0, -long - 0.22, 0.2, 0.18, mix(hair, BLACK, 0.15))
    if sitter.style in (0, 1):
        down = 0.95 if sitter.style == 0 else 0.42
        locks = [
            (-wide - 0.1, -0.2), (-wide - 0.16, 0.3 * down), (-wide - 0.12, 0.9 * down), (-wide + 0.02, down),
            (wide - 0.02, down), (wide + 0.12, 0.9 * down), (wide + 0.16, 0.3 * down), (wide + 0.1, -0.2),
        ]  # fmt: skip
        brush.fill(_rounded(np.array(locks)), mix(hair, BLACK, 0.3))
        for x in np.linspace(-wide - 0.11, wide + 0.11, 14):
            brush.stroke([(x * 0.9, 0.0), (x, 0.5 * down), (x * 0.98, 0.93 * down)], mix(hair, BLACK, 0.45))
    brush.oval(0, -0.12, wide + 0.1, long + 0.05, mix(hair, BLACK, 0.2))


def _shoulders(brush: Brush, sitter: Sitter, shade: RGB) -> None:
    half = [(0.2, 0.6), (0.62, 0.7), (0.9, 0.86), (0.98, 1.2)]
    brush.fill([*[(-x, y) for x, y in half[::-1]], *half], sitter.cloth)
    brush.fill([(-0.17, 0.3), (0.17, 0.3), (0.2, 0.62), (0, 0.78), (-0.2, 0.62)], shade)
    for side in (1, -1):
        collar = [(-0.24, 0.57), (-0.04, 0.8), (-0.16, 0.9), (-0.34, 0.63)]
        brush.fill([(side * x, y) for x, y in collar], mix(sitter.cloth, WHITE, 0.35))
        brush.oval(side * (sitter.wide + 0.01), 0.02, 0.06, 0.1, shade)


def _eyes(brush: Brush, sitter: Sitter, lift: float) -> None:
    for side in (1, -1):
        x = side * 0.17
        brush.oval(x, -0.04, 0.1, 0.06, mix(sitter.skin, (90, 50, 60), 0.22))
        brush.oval(x, -0.035, 0.078, 0.042, WHITE)
        brush.oval(x, -0.035, 0.042, 0.042, sitter.eye)
        brush.oval(x, -0.035, 0.021, 0.021, BLACK)
        brush.oval(x - 0.014, -0.05, 0.01, 0.01, WHITE)
        lid = [(x - 0.085, -0.03), (x - 0.04, -0.085), (x + 0.04, -0.085), (x + 0.085, -0.03), (x, -0.066)]
        brush.fill(lid, mix(sitter.hair, BLACK, 0.6))
        brow = [(x - side * 0.09, -0.13), (x, -0.165 - lift), (x + side * 0.11, -0.12), (x, -0.14 - lift)]
        brush.fill(brow, mix(sitter.hair, BLACK, 0.3))


def _nose_and_mouth(brush: Brush, skin: RGB, shade: RGB, rng: np.random.Generator) -> None:
    brush.fill([(0.0, -0.06), (0.07, 0.15), (0.0, 0.18), (-0.02, 0.14)], mix(skin, shade, 0.6))
    brush.fill([(-0.03, -0.06), (0.0, -0.06), (0.01, 0.12), (-0.03, 0.13)], mix(skin, (255, 244, 226), 0.35))
    lips = mix(shade, (176, 40, 60), rng.uniform(0.3, 0.7))
    corner = 0.29 - rng.uniform(0.0, 0.05)
    upper = [(-0.14, corner), (-0.05, 0.265), (0, 0.28), (0.05, 0.265), (0.14, corner), (0, 0.315)]
    lower = [(-0.14, corner), (-0.06, 0.35), (0, 0.365), (0.06, 0.35), (0.14, corner), (0, 0.315)]
    brush.fill(upper, mix(lips, BLACK, 0.15))
    brush.fill(lower, mix(lips, WHITE, 0.12))
    brush.stroke([(-0.14, corner), (0, 0.312), (0.14, corner)], mix(lips, BLACK, 0.5))


def _fringe(brush: Brush, sitter: Sitter, part: float) -> None:
    """Paint the hair over the forehead, parted at `part`."""
    wide, long = sitter.wide, sitter.long
    outline = np.array([
        (-wide - 0.06, 0.05), (-wide - 0.09, -0.3), (-0.25, -long - 0.1), (0.05, -long - 0.14), (0.3, -long - 0.08),
        (wide + 0.09, -0.28), (wide + 0.06, 0.05), (wide - 0.01, -0.16), (wide - 0.12, -0.32),
        (part + 0.1, -long + 0.2), (part, -long + 0.12), (part - 0.16, -0.33), (-wide + 0.05, -0.2),
        (-wide + 0.01, -0.08),
    ])  # fmt: skip
    brush.fill(_rounded(outline), sitter.hair)
    for strand in np.linspace(-0.95, 0.95, 17):
        arc = [
            (part + 0.03 * strand, -long + 0.08),
            (wide * strand * 0.85, -long - 0.02),
            (wide * strand * 1.16, -0.24),
        ]
        tone = mix(sitter.hair, WHITE if round(strand * 8) % 2 else BLACK, 0.13)
        brush.stroke(_rounded(np.array(arc), closed=False), tone)


def _glasses(brush: Brush) -> None:
    for side in (1, -1):
        turn = np.linspace(0, 2 * np.pi, 30)
        brush.stroke(np.stack([side * 0.17 + 0.12 * np.cos(turn), -0.03 + 0.1 * np.sin(turn)], axis=1), BLACK, 0.02)
    brush.stroke([(-0.05, -0.04), (0.05, -0.04)], BLACK, 0.02)


def _rounded(points: NDArray[np.float64], closed: bool = True) -> NDArray[np.float64]:
    """Cut the corners of a polygon twice (Chaikin's rule)."""
    for _ in range(2):
        after = np.roll(points, -1, axis=0) if closed else points[1:]
        before = points if closed else points[:-1]
        points = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1).reshape(-1, 2)
    return points


def _sidelit(picture: Image.Image, unit: float, middle: NDArray[np.float64]) -> Image.Image:
    """Model the figure with soft light from the left: darker to the right and at its edges."""
    alpha = picture.getchannel("A")
    moved = ImageChops.offset(alpha, round(-0.16 * unit), round(-0.06 * unit))
    core = np.asarray(moved.filter(ImageFilter.GaussianBlur(0.13 * unit)), np.float32) / 255
    across = (np.arange(picture.width, dtype=np.float32) - np.float32(middle[0])) / np.float32(unit)
    gain = (0.68 + 0.34 * core) * (1.03 - 0.12 * across)
    colours = np.asarray(picture.convert("RGB"), np.float32) * gain[..., None]
    shaded = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    shaded.putalpha(alpha)
    return shaded
