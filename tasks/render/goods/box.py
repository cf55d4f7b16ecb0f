"""A printed carton: five panels of card."""

import numpy as np

from schemas.records import Category
from tasks.render.artwork import Mark, Panel
from tasks.render.colours import BLACK, RGB, WHITE, mix, name
from tasks.render.model import Model, assemble, printed, vector
from tasks.render.products import Product
from tasks.render.shapes import Quad
from tasks.render.texture import noise


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the carton: its proportions and the front's layout are drawn from `rng`."""
    wide, high, deep = ((rng.uniform(0.6, 0.78), 1.0, rng.uniform(0.2, 0.36)), (0.96, 0.72, rng.uniform(0.3, 0.45)))[
        int(rng.random() < 0.3)
    ]
    gloss = float(rng.uniform(0.1, 0.35))
    x, z = wide / 2, deep / 2
    panels = {
        "front": (_front(item, wide, high, scale, rng), (-x, high, z), (wide, 0, 0), (0, -high, 0)),
        "back": (_back(item, wide, high, scale, rng), (x, high, -z), (-wide, 0, 0), (0, -high, 0)),
        "right": (_side(item, deep, high, scale, rng, "right"), (x, high, z), (0, 0, -deep), (0, -high, 0)),
        "left": (_side(item, deep, high, scale, rng, "left"), (-x, high, -z), (0, 0, deep), (0, -high, 0)),
        "top": (_top(item, wide, deep, scale), (-x, high, -z), (wide, 0, 0), (0, 0, deep)),
    }
    surfaces = []
    for title, (panel, corner, right, down) in panels.items():
        _worn_edges(panel, item.palette.base)
        height, width = panel.image.height // 2, panel.image.width // 2
        grain = 0.012 * noise(rng, height, width, height / 2, width / 2) + 0.03 * noise(rng, height, width, 3, 3)
        quad = Quad(vector(*corner), vector(*right), vector(*down))
        surfaces.append(printed(title, quad, panel, grain, gloss, 0.35))
    return assemble(surfaces, [surface.shape for surface in surfaces])


def _worn_edges(panel: Panel, base: RGB) -> None:
    """Lighten a card panel's outermost rim, where its fold catches the light."""
    width, height = panel.image.size
    rim = max(1, round(0.006 * panel.pixel))
    panel.draw.rectangle((0, 0, width - 1, height - 1), outline=mix(base, WHITE, 0.45), width=rim)


def _front(item: Product, wide: float, high: float, scale: float, rng: np.random.Generator) -> Panel:
    colours = item.palette
    panel = Panel(wide, high, scale, colours.base)
    period = float(rng.uniform(0.07, 0.13))
    match rng.integers(3):
        case 0:
            panel.fill((0, 0.8, 1, 0.82), colours.accent)
            panel.pattern((0, 0.82, 1, 1), item.pattern, colours, period, "front-pattern")
            panel.text((0.08, 0.07, 0.92, 0.24), item.brand, item.font, colours.ink, "front-brand", spread=True)
            panel.text((0.12, 0.27, 0.88, 0.335), item.line, "sans", colours.ink, "front-line")
            panel.logo((0.5, 0.545), 0.17 * high, item.logo, item.badge, colours, "front-logo")
            panel.text((0.38, 0.745, 0.62, 0.785), item.size, "sans", colours.ink, "front-size")
        case 1:
            panel.pattern((0, 0, 1, 0.3), item.pattern, colours, period, "front-pattern")
            panel.fill((0, 0.3, 1, 0.315), colours.ink)
            panel.text((0.07, 0.37, 0.93, 0.55), item.brand, item.font, colours.ink, "front-brand", spread=True)
            panel.text((0.1, 0.58, 0.9, 0.645), item.line, "sans", colours.ink, "front-line")
            panel.logo((0.5, 0.81), 0.13 * high, item.logo, item.badge, colours, "front-logo")
            panel.text((0.06, 0.93, 0.26, 0.965), item.size, "sans", colours.ink, "front-size")
        case _:
            panel.pattern((0, 0, 0.2, 1), item.pattern, colours, period, "front-pattern")
            panel.fill((0.2, 0, 0.215, 1), colours.accent)
            panel.logo((0.61, 0.25), 0.16 * high, item.logo, item.badge, colours, "front-logo")
            panel.text((0.26, 0.46, 0.96, 0.62), item.brand, item.font, colours.ink, "front-brand", spread=True)
            panel.fill((0.26, 0.655, 0.96, 0.665), colours.accent)
            panel.text((0.26, 0.69, 0.96, 0.755), item.line, "sans", colours.ink, "front-line")
            panel.small_print((0.26, 0.8, 0.8, 0.88), rng, mix(colours.ink, colours.base, 0.25), 2, "front-print")
            panel.text((0.26, 0.91, 0.46, 0.95), item.size, "sans", colours.ink, "front-size")
    return panel


def _back(item: Product, wide: float, high: float, scale: float, rng: np.random.Generator) -> Panel:
    colours = item.palette
    panel = Panel(wide, high, scale, mix(colours.base, WHITE, 0.08))
    panel.fill((0, 0, 1, 0.12), colours.accent)
    ink = WHITE if sum(colours.accent) < 430 else BLACK
    panel.text((0.2, 0.03, 0.8, 0.09), item.brand, item.font, ink, "back-brand")
    panel.small_print((0.08, 0.17, 0.92, 0.4), rng, colours.ink, 6, "back-print")
    panel.facts((0.08, 0.45, 0.56, 0.93), rng, BLACK, WHITE, "back-facts")
    panel.barcode((0.62, 0.76, 0.93, 0.93), rng, "back-barcode")
    panel.logo((0.775, 0.58), 0.1 * high, item.logo, item.badge, colours, "back-logo")
    return panel


def _side(item: Product, deep: float, high: float, scale: float, rng: np.random.Generator, side: str) -> Panel:
    colours = item.palette
    panel = Panel(deep, high, scale, mix(colours.base, BLACK, 0.06))
    panel.text((0.1, 0.06, 0.9, 0.16), item.brand, item.font, colours.ink, f"{side}-brand")
    if side == "right":
        panel.facts((0.1, 0.22, 0.9, 0.62), rng, BLACK, WHITE, "right-facts")
        panel.barcode((0.16, 0.74, 0.84, 0.93), rng, "right-barcode")
    else:
        panel.logo((0.5, 0.36), 0.3 * deep, item.logo, item.badge, colours, "left-logo")
        panel.small_print((0.1, 0.55, 0.9, 0.78), rng, colours.ink, 7, f"{side}-print")
        panel.pattern((0, 0.84, 1, 1), item.pattern, colours, 0.08, "left-pattern")
    return panel


def _top(item: Product, wide: float, deep: float, scale: float) -> Panel:
    panel = Panel(wide, deep, scale, item.palette.base)
    panel.fill((0, 0.49, 1, 0.505), mix(item.palette.base, BLACK, 0.45))
    panel.fill((0, 0.505, 1, 0.52), mix(item.palette.base, WHITE, 0.3))
    panel.text((0.3, 0.6, 0.7, 0.85), item.brand, item.font, item.palette.ink, "top-brand")
    panel.marks.append(
        Mark(
            "top-flap",
            Category.OBJECT_DETAIL,
            "the seam of the lid",
            ((0, 0.44), (1, 0.44), (1, 0.57), (0, 0.57)),
            name(item.palette.base),
        )
    )
    return panel
