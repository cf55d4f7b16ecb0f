"""A glazed mug with its handle, a print around it and perhaps something to drink in it."""

import numpy as np

from tasks.render.artwork import Panel
from tasks.render.colours import WHITE, mix
from tasks.render.model import Model, assemble, printed
from tasks.render.products import Product
from tasks.render.shapes import Disc, Frustum, Handle
from tasks.render.texture import noise


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the mug, filled or not, its handle to the right of its front."""
    colours = item.palette
    radius, high, wall = float(rng.uniform(0.38, 0.44)), float(rng.uniform(0.82, 0.96)), 0.035
    around = 2 * np.pi * radius
    body = Panel(around, high, scale, colours.base)
    reach = 0.115
    left, right = 0.5 - reach, 0.5 + reach
    period = float(rng.uniform(0.06, 0.1))
    band = float(rng.uniform(0.15, 0.2))
    if rng.random() < 0.5:
        body.pattern((0, 0.97 - band, 1, 0.97), item.pattern, colours, period, "pattern")
        top = 0.05
    else:
        body.pattern((0, 0.04, 1, 0.04 + band), item.pattern, colours, period, "pattern")
        top = 0.06 + band
    body.logo((0.5, top + 0.17), 0.145 * high, item.logo, item.badge, colours, "logo")
    body.text((left, top + 0.36, right, top + 0.54), item.brand, item.font, colours.ink, "brand", spread=True)
    body.text((left, top + 0.575, right, top + 0.635), item.line, "sans", colours.ink, "line")
    body.text((0.44, top + 0.66, 0.56, top + 0.705), item.size, "sans", colours.ink, "size")
    for seam in (0.0, 1.0):  # the back is where the print's ends meet
        body.logo((seam, 0.5), 0.15 * high, item.logo, item.badge, colours, "back-logo")
    height, width = body.image.height // 2, body.image.width // 2
    speckle = np.where(noise(rng, height, width, height / 5, width / 5) > 0.93, -0.25, 0).astype(np.float32)
    glaze = speckle if rng.random() < 0.5 else np.zeros_like(speckle)
    inner_colour = (colours.accent, mix(colours.base, WHITE, 0.75), WHITE)[rng.integers(3)]
    handle_colour = inner_colour if rng.random() < 0.5 else colours.base
    rim = Panel(2 * radius, 2 * radius, scale / 3, mix(inner_colour, WHITE, 0.1))
    rim.whole("rim", "the rim", inner_colour)
    inside = Panel(around, high, scale / 3, inner_colour)
    depth = np.linspace(0.0, -0.75, 64, dtype=np.float32)[:, None].repeat(64, axis=1)
    level = float(rng.uniform(0.62, 0.86)) * high
    drink = Panel(2 * radius, 2 * radius, scale / 3, ((58, 34, 22), (150, 84, 36), (96, 58, 36))[rng.integers(3)])
    handle = Panel(0.9, 0.3, scale / 2, handle_colour)
    handle.whole("handle", "the handle", handle_colour)
    side = 0.28 * high
    surfaces = [
        printed("body", Frustum(0.0, high, radius * 0.985, radius), body, glaze, 0.5, 0.9),
        printed(
            "handle", Handle(radius + 0.02, high * 0.52, 0.2, side, 0.048, 1.35, radius - 0.004), handle, None, 0.5, 0.9
        ),
        printed("rim", Disc(high, radius - wall, radius), rim, None, 0.5, 0.8),
        printed("inside", Frustum(0.05, high, radius - wall, radius - wall, True), inside, depth, 0.25, 0.7),
        printed("drink", Disc(level, 0.0, radius - wall), drink, None, 0.6, 0.9),
    ]
    return assemble(surfaces, [surface.shape for surface in surfaces if surface.name != "inside"])
