"""What is printed on a surface: panels on which text, logos, patterns and small print leave their marks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from schemas.records import Category
from tasks.render import words
from tasks.render.colours import BLACK, RGB, WHITE, Palette, mix, name
from tasks.render.texture import Plane

Box = tuple[float, float, float, float]  # left, top, right, bottom, relative to the panel
Outline = tuple[tuple[float, float], ...]  # (x, y) corners

SUPERSAMPLING = 2  # panels are drawn so many times larger: Pillow's shapes have hard edges
FONTS = {
    "grotesque": ("font_roboto", "Roboto-Black.ttf"),
    "sans": ("font_roboto", "Roboto-Bold.ttf"),
    "serif": ("font_source_serif_pro", "SourceSerifPro-Bold.ttf"),
    "round": ("font_fredoka_one", "FredokaOne-Regular.ttf"),
    "book": ("font_caladea", "Caladea-Bold.ttf"),
}
DISPLAY_FONTS = ("grotesque", "serif", "round", "book")


@dataclass(frozen=True)
class Mark:
    """Something that was drawn: what it is and where on the panel, as corners in texture coordinates (0..1)."""

    id: str
    category: Category
    subject: str
    outline: Outline
    colour: str
    text: str | None = None


class Panel:
    """A flat piece of print, `width` x `height` product units at `scale` pixels a unit, and the marks left on it."""

    def __init__(self, width: float, height: float, scale: float, fill: RGB) -> None:
        self.width, self.height = width, height
        self.pixel = scale * SUPERSAMPLING
        size = (max(8, round(width * self.pixel)), max(8, round(height * self.pixel)))
        self.image = Image.new("RGB", size, fill)
        self.draw = ImageDraw.Draw(self.image)
        self.marks: list[Mark] = []

    def corners(self, box: Box) -> tuple[int, int, int, int]:
        """Return a relative box in pixels of the drawing."""
        width, height = self.image.size
        return round(box[0] * width), round(box[1] * height), round(box[2] * width), round(box[3] * height)

    def fill(self, box: Box, colour: RGB, radius: float = 0.0) -> None:
        """Fill a box; `radius` of its corners in units."""
        self.draw.rounded_rectangle(self.corners(box), radius * self.pixel, fill=colour)

    def polygon(self, points: NDArray[np.float64], colour: RGB) -> None:
        """Fill a polygon of (N, 2) relative points."""
        scaled = points * np.array(self.image.size)
        self.draw.polygon([(float(x), float(y)) for x, y in scaled], fill=colour)

    def stitches(self, points: NDArray[np.float64], colour: RGB, length: float = 0.014, thick: float = 0.004) -> None:
        """Draw a dashed seam along (N, 2) relative points; lengths in units."""
        dense = points * np.array(self.image.size) / self.pixel
        steps = np.r_[0, np.cumsum(np.hypot(*np.diff(dense, axis=0).T))]
        for start in np.arange(0, steps[-1] - length, length * 1.8):
            ends = [
                (
                    float(np.interp(at, steps, dense[:, 0])) * self.pixel,
                    float(np.interp(at, steps, dense[:, 1])) * self.pixel,
                )
                for at in (start, start + length)
            ]
            self.draw.line(ends, fill=colour, width=max(1, round(thick * self.pixel)))

    def mark(self, id: str, category: Category, subject: str, box: Box, colour: RGB, text: str | None = None) -> None:
        """Note that something was drawn within a box."""
        left, top, right, bottom = (float(np.clip(side, 0, 1)) for side in box)
        outline = ((left, top), (right, top), (right, bottom), (left, bottom))
        self.marks.append(Mark(id, category, subject, outline, name(colour), text))

    def text(self, box: Box, text: str, font: str, colour: RGB, id: str | None = None, spread: bool = False) -> Box:
        """Write one line as large as fits into a box, centred; `spread` lets it stretch to the box's height.

        Returns the box of the ink. With an `id` it leaves a mark: "the word ..." or "the line ...".
        """
        left, top, right, bottom = self.corners(box)
        wide, high = right - left, bottom - top
        probe = typeface(font, 100).getbbox(text)
        stretch = 1.0
        size = 100 * min(wide / (probe[2] - probe[0]), high / (probe[3] - probe[1]))
        if spread:
            stretch = float(np.clip(high / ((probe[3] - probe[1]) * size / 100), 1.0, 1.5))
        face = typeface(font, max(5, int(size)))
        ink = face.getbbox(text)
        glyphs = Image.new("L", (int(ink[2] - ink[0]) + 2, int(ink[3] - ink[1]) + 2), 0)
        ImageDraw.Draw(glyphs).text((1 - ink[0], 1 - ink[1]), text, font=face, fill=255)
        if stretch > 1:
            glyphs = glyphs.resize((glyphs.width, round(glyphs.height * stretch)), Image.Resampling.BICUBIC)
        at = (left + (wide - glyphs.width) // 2, top + (high - glyphs.height) // 2)
        self.image.paste(Image.new("RGB", glyphs.size, colour), at, glyphs)
        width, height = self.image.size
        drawn = (at[0] / width, at[1] / height, (at[0] + glyphs.width) / width, (at[1] + glyphs.height) / height)
        if id is not None:
            kind = "word" if " " not in text else "line"
            self.mark(id, Category.TEXT, f"the {kind} '{text}'", _grow(drawn, 0.08), colour, text)
        return drawn

    def logo(
        self, centre: tuple[float, float], radius: float, shape: str, badge: str, colours: Palette, id: str
    ) -> None:
        """Draw a logo of `radius` units around a relative point: a shape, alone or on a badge."""
        width, height = self.image.size
        middle = np.array([centre[0] * width, centre[1] * height])
        reach = radius * self.pixel
        inner = reach
        plain, ground = colours.accent, colours.base
        if badge != "plain":
            inner = reach * (0.62 if badge == "ring" else 0.68)
            self.draw.polygon(_points(middle + reach * BADGES[badge]), fill=colours.accent)
            plain, ground = WHITE if _dark(colours.accent) else BLACK, colours.accent
        if badge == "ring":
            self.draw.polygon(_points(middle + reach * 0.84 * BADGES[badge]), fill=ground)
            self.draw.ellipse(
                (*(middle - reach * 0.88), *(middle + reach * 0.88)), outline=plain, width=round(reach * 0.06)
            )
        for role, points in LOGOS[shape]():
            self.draw.polygon(_points(middle + inner * points), fill=(plain, ground, colours.second)[role])
        dx, dy = radius / self.width * 1.05, radius / self.height * 1.05
        box = (centre[0] - dx, centre[1] - dy, centre[0] + dx, centre[1] + dy)
        self.mark(id, Category.LOGO, f"the {shape} logo", box, colours.accent)

    def pattern(self, box: Box, kind: str, colours: Palette, period: float, id: str, noun: str = "band") -> None:
        """Fill a box with a repeating pattern; `period` in units."""
        left, top, right, bottom = self.corners(box)
        self.image.paste(pattern(kind, right - left, bottom - top, period * self.pixel, colours), (left, top))
        self.mark(id, Category.PATTERN, f"the {kind} {noun}", box, colours.accent)

    def barcode(self, box: Box, rng: np.random.Generator, id: str) -> None:
        """Draw a barcode with its digits on white."""
        self.fill(box, WHITE)
        left, top, right, bottom = box
        edges = np.linspace(left + 0.07 * (right - left), right - 0.07 * (right - left), 72)
        for start, end in pairwise(edges):
            if rng.random() < 0.52:
                self.fill((start, top + 0.08 * (bottom - top), end, bottom - 0.28 * (bottom - top)), BLACK)
        digits = "".join(str(d) for d in rng.integers(0, 10, 12))
        self.text(
            (left + 0.1 * (right - left), bottom - 0.22 * (bottom - top), right - 0.1 * (right - left), bottom),
            digits,
            "sans",
            BLACK,
            f"{id}-digits",
        )
        self.mark(id, Category.OBJECT_DETAIL, "the barcode", box, BLACK)

    def facts(self, box: Box, rng: np.random.Generator, colour: RGB, ground: RGB, id: str) -> None:
        """Draw a table of nutrition facts."""
        self.fill(box, ground, 0.01)
        left, top, right, bottom = box
        rows = ("Nutrition Facts", "Energy", "Fat", "Carbohydrate", "Sugars", "Protein", "Salt")
        step = (bottom - top) / (len(rows) + 0.4)
        pad = 0.05 * (right - left)
        for row, words_ in enumerate(rows):
            y = top + (row + 0.35) * step
            share = 0.85 if row == 0 else 0.2 + 0.035 * len(words_)
            end = left + pad + (right - left - 2 * pad) * share
            self.text((left + pad, y, end, y + 0.6 * step), words_, "sans", colour, f"{id}-name{row}")
            if row:
                amount = f"{rng.integers(1, 60)} g"
                start = right - pad - 0.16 * (right - left)
                self.text((start, y, right - pad, y + 0.55 * step), amount, "sans", colour, f"{id}-amount{row}")
            self.fill((left + pad, y + 0.78 * step, right - pad, y + 0.84 * step), mix(colour, ground, 0.4))
        self.mark(id, Category.OBJECT_DETAIL, "the nutrition table", box, ground)

    def small_print(self, box: Box, rng: np.random.Generator, colour: RGB, lines: int, id: str) -> None:
        """Write `lines` lines of small print into a box, each with a mark of its own."""
        left, top, right, bottom = box
        step = (bottom - top) / lines
        for row, text in enumerate(words.paragraph(rng, lines)):
            line = (left, top + row * step, right, top + (row + 0.66) * step)
            self.text(line, text, "sans", colour, f"{id}-{row}")

    def whole(self, id: str, subject: str, colour: RGB, category: Category = Category.OBJECT_DETAIL) -> None:
        """Note that the panel as a whole is something, or a piece of something with pieces elsewhere."""
        self.mark(id, category, subject, (0, 0, 1, 1), colour)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the finished print, (H, W, 3) sRGB."""
        return np.asarray(self.image.reduce(SUPERSAMPLING))


@cache
def _font_path(font: str) -> str:
    package, file = FONTS[font]
    return str(files(package) / "files" / file)


def typeface(font: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font of FONTS at `size` pixels; a new object each time, since drawing is not thread-safe on one."""
    return ImageFont.truetype(_font_path(font), size, layout_engine=ImageFont.Layout.BASIC)


def pattern(kind: str, width: int, height: int, period: float, colours: Palette) -> Image.Image:
    """Return a pattern of PATTERNS, `period` pixels a repeat, in the palette's accent, second and base colours."""
    y, x = np.mgrid[0 : max(height, 1), 0 : max(width, 1)].astype(np.float32) / np.float32(period)
    roles = PATTERNS[kind](x, y)
    table = np.array([colours.accent, colours.second, mix(colours.base, WHITE, 0.25), mix(colours.accent, BLACK, 0.35)])
    return Image.fromarray(table.astype(np.uint8)[roles])


def _cell(x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Return coordinates within unit cells, -0.5..0.5, odd rows shifted by half a cell."""
    shifted = x + 0.5 * (np.floor(y) % 2)
    return (shifted % 1) - 0.5, (y % 1) - 0.5


def _hash(x: Plane, y: Plane) -> Plane:
    """Return a number in 0..1 for each whole (x, y)."""
    mixed = (x.astype(np.int64) * 73856093) ^ (y.astype(np.int64) * 19349663)
    return ((mixed * 2654435761 >> 7) % 1024 / 1024).astype(np.float32)


Roles = NDArray[np.intp]  # which of the palette's colours each pixel takes


def _striped(x: Plane, y: Plane) -> Roles:
    return np.where((x % 1) < 0.5, 0, np.where((x % 1) < 0.62, 2, 1))


def _diagonal(x: Plane, y: Plane) -> Roles:
    return np.where(((x + y) % 1) < 0.5, 0, 1)


def _chequered(x: Plane, y: Plane) -> Roles:
    return ((np.floor(x * 2) + np.floor(y * 2)) % 2).astype(np.intp)


def _dotted(x: Plane, y: Plane) -> Roles:
    cx, cy = _cell(x * 1.3, y * 1.3)
    return np.where(np.hypot(cx, cy) < 0.3, 0, 1)


def _zigzag(x: Plane, y: Plane) -> Roles:
    ridge = (y * 1.5 + np.abs((x % 1) - 0.5)) % 1
    return np.where(ridge < 0.4, 0, np.where(ridge < 0.55, 3, 1))


def _wavy(x: Plane, y: Plane) -> Roles:
    crest = (y * 1.6 + 0.22 * np.sin(2 * np.pi * x)) % 1
    return np.where(crest < 0.45, 0, np.where(crest < 0.6, 2, 1))


def _triangular(x: Plane, y: Plane) -> Roles:
    inside = (np.abs((x * 1.4 % 1) - 0.5) * 2) < (y * 1.4 % 1)
    return np.where(inside, np.where(_hash(np.floor(x * 1.4), np.floor(y * 1.4)) < 0.5, 0, 3), 1)


def _tartan(x: Plane, y: Plane) -> Roles:
    across, down = (x % 1) < 0.4, (y % 1) < 0.4
    thin = (np.abs((x % 1) - 0.7) < 0.03) | (np.abs((y % 1) - 0.7) < 0.03)
    return np.where(thin, 2, np.where(across & down, 3, np.where(across | down, 0, 1)))


def _scalloped(x: Plane, y: Plane) -> Roles:
    cx, _ = _cell(x, y * 2)
    ring = np.hypot(cx, (y * 2 % 1) * 0.9) * 2
    return np.where(ring % 0.5 < 0.3, 0, 1)


def _diamond(x: Plane, y: Plane) -> Roles:
    far = np.abs((x % 1) - 0.5) + np.abs((y % 1) - 0.5)
    return np.where(far < 0.22, 3, np.where(far < 0.42, 0, 1))


def _floral(x: Plane, y: Plane) -> Roles:
    cx, cy = _cell(x, y)
    reach, turn = np.hypot(cx, cy), np.arctan2(cy, cx)
    return np.where(reach < 0.09, 2, np.where(reach < 0.26 + 0.1 * np.cos(5 * turn), 0, 1))


def _speckled(x: Plane, y: Plane) -> Roles:
    fx, fy = x * 2.2, y * 2.2
    kind = _hash(np.floor(fx), np.floor(fy))
    cx, cy = (fx % 1) - 0.5, (fy % 1) - 0.5
    turn = kind * 40
    far = np.maximum(
        np.abs(cx * np.cos(turn) + cy * np.sin(turn)) * 0.8, np.abs(cy * np.cos(turn) - cx * np.sin(turn)) * 2
    )
    return np.where(far < 0.3, np.where(kind < 0.4, 0, np.where(kind < 0.7, 3, 2)), 1)


PATTERNS: dict[str, Callable[[Plane, Plane], Roles]] = {
    "striped": _striped,
    "diagonal-striped": _diagonal,
    "chequered": _chequered,
    "polka-dot": _dotted,
    "zigzag": _zigzag,
    "wavy": _wavy,
    "triangle-patterned": _triangular,
    "tartan": _tartan,
    "scalloped": _scalloped,
    "diamond-patterned": _diamond,
    "floral": _floral,
    "confetti": _speckled,
}

Strokes = list[tuple[int, NDArray[np.float64]]]  # (role: 0 ink, 1 ground, 2 second colour; points in -1..1)


def _ring(count: int, radius: float = 1.0, start: float = 0.0) -> NDArray[np.float64]:
    turn = start + 2 * np.pi * np.arange(count) / count
    return radius * np.stack([np.sin(turn), -np.cos(turn)], axis=1)


def _star() -> Strokes:
    points = _ring(10)
    points[1::2] *= 0.42
    return [(0, points)]


def _sun() -> Strokes:
    rays = _ring(32)
    rays[[i for i in range(32) if i % 4 in (0, 3)]] *= 0.66
    return [(0, rays), (1, _ring(40, 0.56)), (0, _ring(40, 0.46))]


def _leaf() -> Strokes:
    t = np.linspace(0, np.pi, 24)
    side = np.stack([0.62 * np.sin(t) ** 1.2, -np.cos(t)], axis=1)
    blade = np.concatenate([side, side[::-1] * [-1, 1]])
    turned = blade @ np.array([[0.77, 0.64], [-0.64, 0.77]])
    vein = np.array([[-0.03, -0.7], [0.03, -0.7], [0.05, 1.15], [-0.05, 1.15]]) @ np.array(
        [[0.77, 0.64], [-0.64, 0.77]]
    )
    return [(0, turned), (1, vein)]


def _mountain() -> Strokes:
    return [
        (2, np.array([[0.0, 0.75], [0.45, -0.3], [1.0, 0.75]])),
        (0, np.array([[-1.0, 0.75], [-0.2, -0.85], [0.6, 0.75]])),
        (1, np.array([[-0.2, -0.85], [-0.45, -0.35], [-0.28, -0.45], [-0.18, -0.25], [-0.05, -0.45], [0.05, -0.35]])),
    ]


def _wave() -> Strokes:
    x = np.linspace(-1, 1, 40)
    rows = []
    for role, shift in ((0, -0.5), (2, 0.0), (0, 0.5)):
        top = shift + 0.22 * np.sin(3 * np.pi * x)
        rows.append((role, np.concatenate([np.stack([x, top - 0.15], 1), np.stack([x, top + 0.15], 1)[::-1]])))
    return rows


def _crown() -> Strokes:
    body = [[-0.9, 0.35], [-0.95, -0.5], [-0.45, -0.05], [0, -0.8], [0.45, -0.05], [0.95, -0.5], [0.9, 0.35]]
    return [(0, np.array(body)), (0, np.array([[-0.9, 0.45], [0.9, 0.45], [0.9, 0.68], [-0.9, 0.68]]))]


def _bolt() -> Strokes:
    return [(0, np.array([[0.25, -1], [-0.65, 0.15], [-0.08, 0.15], [-0.3, 1], [0.65, -0.25], [0.05, -0.25]]))]


def _heart() -> Strokes:
    t = np.linspace(0, 2 * np.pi, 60)
    x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(0, np.stack([x / 17, -(y + 2.5) / 17], axis=1))]


def _moon() -> Strokes:
    return [
        (0, _ring(50, 0.95)),
        (1, _ring(50, 0.78) + np.array([0.36, -0.16])),
        (2, _ring(24, 0.13) + np.array([0.36, -0.1])),
    ]


def _flower() -> Strokes:
    petals: Strokes = [(0, _ring(30, 0.4) + 0.58 * point) for point in _ring(6)]
    return [*petals, (2, _ring(30, 0.3))]


def _drop() -> Strokes:
    t = np.linspace(0, 2 * np.pi, 60)
    shine = np.stack([0.12 * np.cos(t) - 0.28, 0.2 * np.sin(t) + 0.45], axis=1)
    return [(0, np.stack([0.8 * np.sin(t) * np.sin(t / 2) ** 1.6, -np.cos(t)], axis=1)), (1, shine)]


def _paw() -> Strokes:
    toes: Strokes = [
        (0, _ring(24) * [0.22, 0.28] + at) for at in ([-0.68, -0.05], [-0.26, -0.55], [0.26, -0.55], [0.68, -0.05])
    ]
    return [*toes, (0, _ring(36) * [0.52, 0.42] + [0, 0.42])]


def _tree() -> Strokes:
    tiers: Strokes = [
        (0, np.array([[0, -1 + s], [0.42 + s * 0.35, -0.3 + s], [-0.42 - s * 0.35, -0.3 + s]])) for s in (0, 0.42, 0.84)
    ]
    return [(2, np.array([[-0.13, 0.4], [0.13, 0.4], [0.13, 0.95], [-0.13, 0.95]])), *tiers]


def _fish() -> Strokes:
    t = np.linspace(0, 2 * np.pi, 50)
    body = np.stack([0.72 * np.cos(t) - 0.2, 0.44 * np.sin(t)], axis=1)
    return [
        (0, np.array([[0.35, 0], [1, -0.5], [0.85, 0], [1, 0.5]])),
        (0, body),
        (1, _ring(20, 0.1) + np.array([-0.55, -0.1])),
    ]


def _bird() -> Strokes:
    t = np.linspace(0, np.pi, 30)
    wing = np.stack([0.5 - 0.5 * np.cos(t), -0.55 * np.sin(t)], axis=1)
    lower = np.stack([0.5 - 0.5 * np.cos(t), -0.22 * np.sin(t) + 0.12], axis=1)
    right = np.concatenate([wing, lower[::-1]])
    return [(0, right), (0, right * [-1, 1]), (0, _ring(20) * [0.14, 0.24] + [0, 0.12])]


LOGOS: dict[str, Callable[[], Strokes]] = {
    "star": _star,
    "sun": _sun,
    "leaf": _leaf,
    "mountain": _mountain,
    "wave": _wave,
    "crown": _crown,
    "lightning": _bolt,
    "heart": _heart,
    "moon": _moon,
    "flower": _flower,
    "drop": _drop,
    "paw": _paw,
    "tree": _tree,
    "fish": _fish,
    "bird": _bird,
}
_shield = np.array([[-0.85, -0.9], [0.85, -0.9], [0.85, 0.1], [0.5, 0.65], [0, 1], [-0.5, 0.65], [-0.85, 0.1]])
BADGES: dict[str, NDArray[np.float64]] = {
    "plain": np.zeros((0, 2)),
    "disc": _ring(60),
    "ring": _ring(60),
    "shield": _shield,
    "hexagon": _ring(6),
    "scallop": _ring(72) * (0.94 + 0.06 * np.cos(np.arange(72) * 2 * np.pi / 6))[:, None],
}


def _points(points: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _dark(colour: RGB) -> bool:
    return 0.3 * colour[0] + 0.6 * colour[1] + 0.1 * colour[2] < 150


def _grow(box: Box, share: float) -> Box:
    dx, dy = share * (box[2] - box[0]) / 3, share * (box[3] - box[1])
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy
