"""Colours of a product: palettes whose ink can be read on their base, and the plain names of colours."""

import colorsys
from dataclasses import dataclass

import numpy as np

RGB = tuple[int, int, int]  # sRGB, 0..255

WHITE: RGB = (250, 249, 245)
BLACK: RGB = (28, 27, 30)
HUES = (  # upper end of each hue in degrees, and its name
    (14, "red"),
    (40, "orange"),
    (68, "yellow"),
    (160, "green"),
    (192, "teal"),
    (256, "blue"),
    (292, "purple"),
    (340, "pink"),
    (361, "red"),
)


@dataclass(frozen=True)
class Palette:
    """Four colours that go together; `ink` reads on `base`, `accent` stands out from `base`, `second` from `accent`."""

    base: RGB
    ink: RGB
    accent: RGB
    second: RGB


def palette(rng: np.random.Generator, hue: float) -> Palette:
    """Return a light, vivid or dark palette around `hue` (0..1, wraps)."""
    kind = rng.integers(3)
    partner = hue + rng.choice([0.08, 0.42, 0.5, 0.58]) + rng.uniform(-0.03, 0.03)
    third = hue + rng.choice([-0.1, 0.12, 0.33])
    match kind:
        case 0:  # light ground, dark ink
            base = from_hsv(hue, rng.uniform(0.06, 0.2), rng.uniform(0.9, 0.97))
            ink = from_hsv(hue, rng.uniform(0.6, 0.9), rng.uniform(0.18, 0.34))
            accent = from_hsv(partner, rng.uniform(0.65, 0.85), rng.uniform(0.6, 0.8))
            second = from_hsv(third, rng.uniform(0.4, 0.6), rng.uniform(0.75, 0.9))
        case 1:  # vivid ground, white ink
            base = from_hsv(hue, rng.uniform(0.68, 0.88), rng.uniform(0.5, 0.68))
            ink = WHITE
            accent = from_hsv(partner, rng.uniform(0.45, 0.7), rng.uniform(0.9, 0.98))
            second = from_hsv(third, rng.uniform(0.15, 0.35), rng.uniform(0.88, 0.96))
        case _:  # dark ground, light ink
            base = from_hsv(hue, rng.uniform(0.45, 0.7), rng.uniform(0.18, 0.3))
            ink = from_hsv(hue, 0.04, 0.97)
            accent = from_hsv(partner, rng.uniform(0.5, 0.75), rng.uniform(0.85, 0.95))
            second = from_hsv(third, rng.uniform(0.3, 0.5), rng.uniform(0.6, 0.8))
    accent = _apart(accent, base, 2.2)
    return Palette(_readable(base, ink, 5.0), ink, accent, _apart(second, accent, 1.6))


def from_hsv(hue: float, saturation: float, value: float) -> RGB:
    """Return the colour of hue (wraps), saturation and value, all in units of 1."""
    red, green, blue = colorsys.hsv_to_rgb(float(hue) % 1, float(saturation), float(value))
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return `first` with `share` (0..1) of `second` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def contrast(first: RGB, second: RGB) -> float:
    """Return the contrast ratio (1..21) of two colours, by WCAG 2.1's relative luminance."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def name(colour: RGB) -> str:
    """Return the plain English name of a colour: a hue, or black, white, grey, brown, beige.

    >>> name((200, 30, 30)), name((90, 60, 30)), name((240, 240, 238))
    ('red', 'brown', 'white')
    """
    hue, saturation, value = colorsys.rgb_to_hsv(*(part / 255 for part in colour))
    if value < 0.2:
        return "black"
    if saturation < 0.12:
        return "white" if value > 0.82 else "grey"
    degrees = hue * 360
    if 14 <= degrees < 50 and value < 0.62:
        return "brown"
    if 20 <= degrees < 68 and saturation < 0.4:
        return "beige"
    plain = next(word for end, word in HUES if degrees < end)
    if plain in ("red", "pink") and value > 0.75 and saturation < 0.5:
        return "pink"
    if value < 0.38:
        return f"dark {plain}"
    return f"light {plain}" if saturation < 0.35 and value > 0.7 else plain


def _luminance(colour: RGB) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _readable(base: RGB, ink: RGB, least: float) -> RGB:
    """Move `base` away from `ink` until its contrast is `least`."""
    away = BLACK if _luminance(ink) > 0.4 else WHITE
    share = 0.0
    while contrast(mix(base, away, share), ink) < least and share < 0.9:
        share += 0.05
    return mix(base, away, share)


def _apart(colour: RGB, other: RGB, least: float) -> RGB:
    """Move `colour` away from `other` until their contrast is `least`."""
    away = BLACK if _luminance(other) > 0.35 else WHITE
    share = 0.0
    while contrast(mix(colour, away, share), other) < least and share < 0.8:
        share += 0.05
    return mix(colour, away, share)
