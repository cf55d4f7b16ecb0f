"""A framed poster of a portrait; its back is card and tape."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.records import Category
from tasks.render.artwork import Mark, Panel
from tasks.render.colours import BLACK, RGB, WHITE, mix
from tasks.render.faces import portrait
from tasks.render.model import Model, assemble, printed, vector
from tasks.render.products import Product
from tasks.render.shapes import Quad
from tasks.render.texture import noise


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the poster in its frame."""
    wide, high, bar, deep = float(rng.uniform(0.7, 0.8)), 1.0, float(rng.uniform(0.03, 0.05)), 0.04
    x, left, top = wide / 2, bar / wide, bar / high
    wood = ((40, 36, 34), (236, 234, 228), (150, 106, 66), (92, 58, 38))[rng.integers(4)]
    frame = Panel(wide, high, scale * 0.8, wood)
    grain_size = (frame.image.height // 2, frame.image.width // 2)
    grain = 0.06 * noise(rng, *grain_size, 6, 120) + 0.04 * noise(rng, *grain_size, 60, 60)
    light, dark = mix(wood, WHITE, 0.3), mix(wood, BLACK, 0.4)
    width, height = frame.image.size
    edge = bar * frame.pixel
    thin = max(2, round(0.003 * frame.pixel))
    frame.draw.rectangle((0, 0, width - 1, height - 1), outline=light, width=thin)
    frame.draw.rectangle(
        (edge - thin, edge - thin, width - edge + thin, height - edge + thin), outline=dark, width=thin
    )
    for corner in ((0, 0, 1, 1), (width, 0, -1, 1), (0, height, 1, -1), (width, height, -1, -1)):
        end = (corner[0] + corner[2] * edge, corner[1] + corner[3] * edge)
        frame.draw.line([corner[:2], end], fill=dark, width=thin)
    frame.mark("frame", Category.OBJECT_DETAIL, "the frame", (0, 1 - top, 1, 1), wood)
    sheet = _print(item, wide - 2 * bar, high - 2 * bar, scale, rng)
    kraft = _frame_back(item, wide, high, scale, rng)
    hole = (left, top, 1 - left, 1 - top)
    surfaces = [
        printed(
            "print",
            Quad(vector(-x + bar, high - bar, 0.018), vector(wide - 2 * bar, 0, 0), vector(0, 2 * bar - high, 0)),
            sheet,
            None,
            0.12,
            0.9,
        ),
        printed(
            "frame",
            Quad(vector(-x, high, deep), vector(wide, 0, 0), vector(0, -high, 0), hole),
            frame,
            grain,
            0.25,
            0.5,
        ),
        printed("backing", Quad(vector(x, high, 0), vector(-wide, 0, 0), vector(0, -high, 0)), kraft),
    ]
    sides = {  # corner, along, down: four outer sides, then four inner ones
        "outer-right": ((x, high, deep), (0, 0, -deep), (0, -high, 0)),
        "outer-left": ((-x, high, 0), (0, 0, deep), (0, -high, 0)),
        "outer-top": ((-x, high, 0), (wide, 0, 0), (0, 0, deep)),
        "outer-bottom": ((-x, 0, deep), (wide, 0, 0), (0, 0, -deep)),
        "inner-left": ((-x + bar, high - bar, deep), (0, 0, 0.018 - deep), (0, 2 * bar - high, 0)),
        "inner-right": ((x - bar, high - bar, 0.018), (0, 0, deep - 0.018), (0, 2 * bar - high, 0)),
        "inner-top": ((-x + bar, high - bar, deep), (wide - 2 * bar, 0, 0), (0, 0, 0.018 - deep)),
        "inner-bottom": ((-x + bar, bar, 0.018), (wide - 2 * bar, 0, 0), (0, 0, deep - 0.018)),
    }
    for title, (origin, along, down) in sides.items():
        strip = Panel(0.2, 0.2, scale / 4, dark if title.startswith("inner") else mix(wood, BLACK, 0.15))
        surfaces.append(printed(title, Quad(vector(*origin), vector(*along), vector(*down)), strip))
    return assemble(surfaces, [surface.shape for surface in surfaces[:7]], standing=False)


def _print(item: Product, wide: float, high: float, scale: float, rng: np.random.Generator) -> Panel:
    colours = item.palette
    panel = Panel(wide, high, scale * 1.15, colours.base)
    title_above = rng.random() < 0.5
    low, band = (0.2, (0, 0.76, 1, 0.85)) if title_above else (0.04, (0, 0.68, 1, 0.77))
    picture = (0.06, low, 0.94, band[1])
    left, top, right, bottom = panel.corners(picture)
    sky = mix(colours.second, colours.base, 0.25)
    panel.fill(picture, sky)
    glow = np.linspace(0, 1, bottom - top)[:, None, None] ** 1.3
    tones = np.array(mix(sky, WHITE, 0.35)) * (1 - glow) + np.array(mix(sky, colours.accent, 0.5)) * glow
    panel.image.paste(_picture(np.broadcast_to(tones, (bottom - top, right - left, 3))), (left, top))
    sun = 0.4 * (right - left)
    cx, cy = (left + right) / 2 + rng.uniform(-0.1, 0.1) * sun, top + 0.48 * (bottom - top)
    panel.draw.ellipse((cx - sun, cy - sun, cx + sun, cy + sun), fill=mix(colours.accent, WHITE, 0.25))
    figure, outline = portrait(rng, right - left, round((bottom - top) * 0.97), colours)
    panel.image.paste(figure, (left, bottom - figure.height), figure)
    x = (left + outline[:, 0] * figure.width) / panel.image.width
    y = (bottom - figure.height + outline[:, 1] * figure.height) / panel.image.height
    corners = tuple((float(a), float(b)) for a, b in zip(x, y, strict=True))
    panel.marks.append(Mark("face", Category.FACE, "the face of the portrait", corners, "skin"))
    panel.pattern((band[0], band[1], band[2], band[3]), item.pattern, colours, 0.08, "pattern")
    if title_above:
        panel.text((0.07, 0.045, 0.93, 0.165), item.brand, item.font, colours.ink, "brand", spread=True)
        panel.text((0.07, 0.88, 0.72, 0.925), item.line, "sans", colours.ink, "line")
        panel.text((0.07, 0.94, 0.4, 0.975), item.size, "sans", colours.ink, "date")
        panel.logo((0.86, 0.925), 0.055, item.logo, item.badge, colours, "logo")
    else:
        panel.text((0.07, 0.795, 0.93, 0.89), item.brand, item.font, colours.ink, "brand", spread=True)
        panel.text((0.07, 0.91, 0.76, 0.95), item.line, "sans", colours.ink, "line")
        panel.text((0.07, 0.958, 0.4, 0.988), item.size, "sans", colours.ink, "date")
        panel.logo((0.88, 0.943), 0.045, item.logo, item.badge, colours, "logo")
    return panel


def _frame_back(item: Product, wide: float, high: float, scale: float, rng: np.random.Generator) -> Panel:
    kraft: RGB = (176, 142, 102)
    panel = Panel(wide, high, scale, kraft)
    for _ in range(900):
        x, y = rng.uniform(0, panel.image.width), rng.uniform(0, panel.image.height)
        turn, size = rng.uniform(0, np.pi), rng.uniform(2, 9) * scale / 500
        tone = mix(kraft, BLACK if rng.random() < 0.6 else WHITE, float(rng.uniform(0.05, 0.2)))
        panel.draw.line([(x, y), (x + size * np.cos(turn), y + size * np.sin(turn))], fill=tone, width=1)
    tape: RGB = (206, 178, 132)
    for box in ((0, 0, 1, 0.06), (0, 0.94, 1, 1), (0, 0, 0.07, 1), (0.93, 0, 1, 1)):
        panel.fill(box, tape)
    panel.fill((0.47, 0.1, 0.53, 0.125), (150, 150, 154))
    panel.mark("hanger", Category.OBJECT_DETAIL, "the metal hanger", (0.46, 0.09, 0.54, 0.135), (150, 150, 154))
    panel.fill((0.3, 0.68, 0.7, 0.84), WHITE, 0.01)
    panel.text((0.34, 0.695, 0.66, 0.74), item.brand, "sans", BLACK, "back-label")
    panel.small_print((0.34, 0.755, 0.66, 0.825), rng, (70, 70, 74), 3, "print")
    return panel


def _picture(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
