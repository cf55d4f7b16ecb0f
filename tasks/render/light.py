"""The light of a photo: its setting, its lamps, and what they come to."""

from dataclasses import dataclass

import numpy as np

from tasks.render.texture import Plane

SETTINGS = ("studio", "studio", "table", "table", "cloth", "stone", "garden", "plaster")  # for what stands
HUNG_SETTINGS = ("plaster", "plaster", "table", "cloth", "stone", "studio")


@dataclass(frozen=True)
class Light:
    """A far light: its direction from the product, linear colour, and the width of its softbox (cosine)."""

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    width: float


@dataclass(frozen=True, eq=False)
class Lighting:
    """All light of a photo: key, fill and rim lamp, the ambient colour (3,), and the tone (3,) of what lies around."""

    lamps: tuple[Light, ...]
    ambient: Plane
    bounce: Plane


@dataclass(frozen=True)
class Look:
    """What a photo's setting is, apart from product and camera; angles in degrees, seen from before the product."""

    setting: str
    key: float
    height: float
    strength: float  # of the key light among all light, 0..1
    warmth: float  # -1 cold .. 1 warm
    exposure: float
    softness: float  # penumbra, radians
    blur: float  # depth of field: circle of confusion, share of the picture, at twice the distance
    tone: int  # keys what the background is made of


def look_of(rng: np.random.Generator, standing: bool) -> Look:
    """Draw a setting with its light."""
    settings = SETTINGS if standing else HUNG_SETTINGS
    return Look(
        setting=str(rng.choice(settings)),
        key=float(rng.choice([-1, 1]) * rng.uniform(18, 55)),
        height=float(rng.uniform(35, 62)),
        strength=float(rng.uniform(0.5, 0.72)),
        warmth=float(rng.uniform(-0.5, 0.8)),
        exposure=float(rng.uniform(0.86, 1.04)),
        softness=float(rng.uniform(0.06, 0.3)),
        blur=float(rng.uniform(0.0, 0.05)),
        tone=int(rng.integers(1 << 30)),
    )


def lighting(look: Look, azimuth: float, tone: Plane) -> Lighting:
    """Return the lamps of a look around a product that is seen from `azimuth` (degrees), on ground of a linear `tone`.

    A surface that faces front gets about `exposure` in all. The lamps stay with the product's face rather than follow
    the camera.
    """
    warm = np.array([1 + 0.1 * look.warmth, 1.0, 1 - 0.14 * look.warmth])
    cool = np.array([1 - 0.03 * look.warmth, 1.0, 1 + 0.05 * look.warmth])
    front = 180.0 if abs(azimuth) > 90 else 0.0
    base = front + 0.35 * (azimuth - front)

    def lamp(turn: float, height: float, colour: Plane, width: float) -> Light:
        a, e = np.radians([base + turn, height])
        direction = (float(np.sin(a) * np.cos(e)), float(np.sin(e)), float(np.cos(a) * np.cos(e)))
        return Light(direction, (float(colour[0]), float(colour[1]), float(colour[2])), width)

    facing = np.cos(np.radians(look.key)) * np.cos(np.radians(look.height))
    key = look.exposure * look.strength / max(facing, 0.3)
    fill, rest = look.exposure * 0.16, look.exposure * (1 - look.strength) * 0.85
    lamps = (
        lamp(look.key, look.height, warm * key, 0.95),
        lamp(-look.key * 0.9, 22, cool * fill, 0.97),
        lamp(170 - look.key, 40, cool * fill * 1.2, 0.96),
    )
    return Lighting(lamps, (cool * rest).astype(np.float32), tone)


def smooth(x: Plane, low: float, high: float) -> Plane:
    """Return 0 below `low`, 1 above `high`, and a smooth step between."""
    share = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))
