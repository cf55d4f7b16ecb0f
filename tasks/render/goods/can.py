"""A can: a printed label, metal rims and a lid with its tab."""

import numpy as np

from schemas.records import Category
from tasks.render.artwork import Panel
from tasks.render.colours import BLACK, RGB, WHITE, mix
from tasks.render.model import Model, assemble, printed
from tasks.render.products import Product
from tasks.render.shapes import Disc, Frustum


def model(item: Product, scale: float, rng: np.random.Generator) -> Model:
    """Build the can: a slim one for drinks, a wide one for food."""
    colours = item.palette
    drink = rng.random() < 0.6
    radius, high = (0.27, 1.0) if drink else (float(rng.uniform(0.34, 0.4)), 0.92)
    neck, foot = (0.09, 0.04) if drink else (0.035, 0.035)
    around, tall = 2 * np.pi * radius, high - neck - foot
    label = Panel(around, tall, scale, colours.base)
    reach = 0.115  # the front print spans 83 degrees
    left, right = 0.5 - reach, 0.5 + reach
    period = float(rng.uniform(0.07, 0.11))
    if rng.random() < 0.5:
        label.pattern((0, 0.82, 1, 1), item.pattern, colours, period, "pattern")
        label.fill((0, 0.8, 1, 0.82), colours.accent)
        top = 0.03
    else:
        label.pattern((0, 0, 1, 0.18), item.pattern, colours, period, "pattern")
        label.fill((0, 0.18, 1, 0.2), colours.accent)
        top = 0.2
    label.logo((0.5, top + 0.185), 0.155 * tall, item.logo, item.badge, colours, "logo")
    label.text((left, top + 0.38, right, top + 0.565), item.brand, item.font, colours.ink, "brand", spread=True)
    label.text((left, top + 0.6, right, top + 0.66), item.line, "sans", colours.ink, "line")
    label.text((0.44, top + 0.7, 0.56, top + 0.75), item.size, "sans", colours.ink, "size")
    label.facts((0.74, top + 0.05, 0.9, top + 0.72), rng, BLACK, WHITE, "facts")
    label.barcode((0.03, top + 0.4, 0.16, top + 0.7), rng, "barcode")
    label.small_print((0.03, top + 0.06, 0.2, top + 0.34), rng, colours.ink, 6, "print")
    surfaces = [printed("label", Frustum(foot, high - neck, radius, radius), label, None, 0.75 if drink else 0.35, 0.8)]
    steel: RGB = (196, 197, 199)
    lid_radius = radius * (0.8 if drink else 0.97)
    for title, low, top_, low_r, top_r in (
        ("foot", 0.0, foot, radius * (0.86 if drink else 1.02), radius),
        ("neck", high - neck, high - 0.015, radius, lid_radius),
        ("rim", high - 0.015, high, lid_radius * 1.02, lid_radius * 1.02),
    ):
        ring = Panel(around, max(top_ - low, 0.02), scale / 2, steel)
        if title != "foot":
            ring.whole("rim", "the metal rim", steel)
        surfaces.append(printed(title, Frustum(low, top_, low_r, top_r), ring, None, 0.9, 0.8, metal=True))
    surfaces.append(
        printed(
            "lid",
            Disc(high - 0.012, 0.0, lid_radius),
            _lid(lid_radius, scale, drink, steel),
            None,
            0.8,
            0.6,
            metal=True,
        )
    )
    surfaces.append(
        printed(
            "rim-inside",
            Frustum(high - 0.012, high, lid_radius, lid_radius, True),
            Panel(around, 0.02, scale / 2, steel),
            None,
            0.7,
            0.6,
            metal=True,
        )
    )
    return assemble(surfaces, [surface.shape for surface in surfaces[:5]])


def _lid(radius: float, scale: float, drink: bool, steel: RGB) -> Panel:
    lid = Panel(2 * radius, 2 * radius, scale, steel)
    width = lid.image.width
    for share, tone in ((0.98, 0.3), (0.93, 0.0), (0.86, 0.25), (0.84, 0.05), (0.5, 0.12), (0.48, 0.0)):
        edge = width * (1 - share) / 2
        lid.draw.ellipse((edge, edge, width - edge, width - edge), fill=mix(steel, BLACK, tone))
    dark, pale = mix(steel, BLACK, 0.45), mix(steel, WHITE, 0.4)
    if drink:
        lid.draw.ellipse([width * s for s in (0.36, 0.56, 0.64, 0.88)], outline=dark, width=max(1, width // 120))
    lid.draw.rounded_rectangle(
        [width * s for s in (0.42, 0.26, 0.58, 0.62)], width * 0.08, fill=pale, outline=dark, width=max(1, width // 110)
    )
    lid.draw.ellipse(
        [width * s for s in (0.45, 0.29, 0.55, 0.41)],
        fill=mix(steel, BLACK, 0.35),
        outline=dark,
        width=max(1, width // 140),
    )
    lid.draw.ellipse([width * s for s in (0.47, 0.5, 0.53, 0.56)], fill=steel, outline=dark, width=max(1, width // 140))
    lid.mark("tab", Category.OBJECT_DETAIL, "the pull tab", (0.4, 0.24, 0.6, 0.64), pale)
    return lid
