"""Lettering: another text set in the place of the old one, in its ink, size and slant."""

from functools import cache
from importlib.resources import as_file, files

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from schemas.records import Refusal
from tasks.engines.procedural.fields import grid, smooth_noise
from tasks.engines.procedural.glyphs import lines, straightened, to_frame
from tasks.engines.procedural.ink import Ink, find_ink, stroke_width
from tasks.engines.procedural.region import Colours, Plane, Region, single

FONTS = (  # (package, file)
    ("font_roboto", "Roboto-Light.ttf"),
    ("font_roboto", "Roboto-Medium.ttf"),
    ("font_roboto", "Roboto-Black.ttf"),
    ("font_source_serif_pro", "SourceSerifPro-Regular.ttf"),
    ("font_source_serif_pro", "SourceSerifPro-Bold.ttf"),
    ("font_caladea", "Caladea-Regular.ttf"),
    ("font_caladea", "Caladea-BoldItalic.ttf"),
    ("font_fredoka_one", "FredokaOne-Regular.ttf"),
    ("font_amatic_sc", "AmaticSC-Bold.ttf"),
)
SET_SIZE = 96  # pixels: text is set large and brought down to size


def retype(region: Region, text: str, strength: float, rng: np.random.Generator) -> Colours:
    """Take the region's print away and set `text` in its place.

    Raises Refusal when the region bears no print or the text holds nothing that can be set.
    """
    ink = find_ink(region, rng)
    words = text.split()
    if not words:
        raise Refusal("no-text", "the instruction gives no text to set")
    upright = straightened(ink)
    rows = _rows(lines(upright, ink.stroke), len(words))
    font = _nearest_font(ink, upright, rng)
    matte = np.zeros(region.shape, np.float32)
    along, across = to_frame(ink, *grid(region.shape))
    wave = 0.03 * strength * (rows[0][1] - rows[0][0])  # drawn by hand and lens, no baseline is quite straight
    across = across + wave * smooth_noise(rng, region.shape, max(region.shape) / 2)
    for (top, bottom), part in zip(rows, np.array_split(np.array(words), len(rows)), strict=True):
        present = np.flatnonzero(upright[round(top) : round(bottom)].max(0) > 0.3)
        left, right = (present[0], present[-1] + 1) if len(present) else (0, upright.shape[1])
        line = set_line(" ".join(part.tolist()), *font)
        matte = np.maximum(matte, _place(line, along, across, (float(left), top, float(right), bottom), ink.edge))
    tint = ink.tint * np.float32(0.75 + 0.25 * strength + rng.uniform(-0.05, 0.05))
    return single(ink.surface + matte[..., None] * tint)


def _rows(old: list[tuple[int, int]], count: int) -> list[tuple[float, float]]:
    """Return (top, bottom) of the lines to set: the old ones, or `count` as high about their middle."""
    if count >= len(old):
        return [(float(top), float(bottom)) for top, bottom in old]
    height = float(np.mean([bottom - top for top, bottom in old]))
    pitch = (old[-1][0] - old[0][0]) / (len(old) - 1)
    middles = (old[0][0] + old[-1][1]) / 2 + pitch * (np.arange(count) - (count - 1) / 2)
    return [(float(middle - height / 2), float(middle + height / 2)) for middle in middles]


def set_line(text: str, package: str, name: str) -> Plane:
    """Return `text` as coverage 0..1, cut to its ink. Raises Refusal when the font has nothing to show for it."""
    with as_file(files(package) / "files" / name) as path:
        font = ImageFont.truetype(str(path), SET_SIZE)
    left, top, right, bottom = font.getbbox(text)
    page = Image.new("L", (max(1, int(right - left)) + 8, max(1, int(bottom - top)) + 8))
    ImageDraw.Draw(page).text((4 - left, 4 - top), text, fill=255, font=font)
    coverage = np.asarray(page, np.float32) / 255
    rows, columns = np.nonzero(coverage > 0.2)
    if not len(rows):
        raise Refusal("no-text", f"the fonts have no glyphs for {text!r}")
    return coverage[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@cache
def _weight(package: str, name: str) -> float:
    """Return the font's stroke width as a share of its capitals' height."""
    return stroke_width(set_line("HAMBURG", package, name)) / SET_SIZE / 0.7


def _nearest_font(ink: Ink, upright: Plane, rng: np.random.Generator) -> tuple[str, str]:
    """Return one of the three fonts nearest to the print in weight."""
    height = float(np.mean([bottom - top for top, bottom in lines(upright, ink.stroke)]))
    wanted = ink.stroke / max(height, 1)
    nearest = sorted(FONTS, key=lambda font: (abs(np.log(_weight(*font) / wanted)), font))
    return nearest[int(rng.integers(3))]


def _place(line: Plane, along: Plane, across: Plane, box: tuple[float, float, float, float], edge: float) -> Plane:
    """Return a line's coverage drawn into the box of the old one, of its height, squeezed at most by a third."""
    left, top, right, bottom = box
    scale = (bottom - top) / line.shape[0]  # pixels of the photo a pixel of the line
    wide = (right - left) / (line.shape[1] * scale)
    stretch = float(np.clip(wide, 0.67, 1.25))
    scale *= min(1.0, wide / stretch)  # too long even so: smaller altogether
    spread_x, spread_y = scale * stretch, scale
    # Soften at the size it was set in: that is the antialiasing, and the photo's own softness.
    soft = max(edge, 0.45)
    line = cv2.copyMakeBorder(line, 24, 24, 24, 24, cv2.BORDER_CONSTANT)
    line = cv2.GaussianBlur(line, (0, 0), sigmaX=soft / spread_x, sigmaY=soft / spread_y)
    x = (along - (left + right) / 2) / spread_x + line.shape[1] / 2
    y = (across - (top + bottom) / 2) / spread_y + line.shape[0] / 2
    return cv2.remap(line, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR).astype(np.float32)
