"""Colour: the palette of a region, and shifting its dominant colours."""

import numpy as np
from numpy.typing import NDArray

from tasks.engines.procedural.fields import lowpass
from tasks.engines.procedural.region import Colours, Region, rgb


def palette(colours: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return up to `count` dominant Lab colours of (n, 3) Lab colours, most frequent first, and their shares."""
    sample = colours[:: max(1, len(colours) // 2000)]
    spread = sample[np.argsort(sample[:, 0], kind="stable")]
    centres = spread[((np.arange(count) + 0.5) / count * len(spread)).astype(int)]
    shares = np.ones(count)
    for _ in range(8):
        nearest = ((sample[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        shares = np.bincount(nearest, minlength=count) / len(sample)
        centres = np.stack(
            [sample[nearest == k].mean(0) if shares[k] > 0 else centres[k] for k in range(count)], dtype=np.float32
        )
    order = np.argsort(-shares, kind="stable")
    order = order[shares[order] > 0]
    return centres[order], shares[order].astype(np.float32)


def recolour(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Shift hue, saturation and lightness of the region's dominant colours in Lab; texture and shading stay."""
    colours = region.lab
    centres, shares = palette(colours[region.inside], 3)
    dominant = centres[: 1 + int(np.searchsorted(np.cumsum(shares), 0.6))]
    distance = np.min([np.linalg.norm((colours - centre) * (0.5, 1, 1), axis=-1) for centre in dominant], axis=0)
    belongs = lowpass(np.exp(-((distance / 28) ** 2)).astype(np.float32), 1.2)[..., None]
    amount = 8 + 14 * strength  # Lab units, about: more looks like a stain, which generators do not leave
    chroma = float(np.linalg.norm(dominant[0, 1:]))
    turn = rng.choice((-1, 1)) * min(amount / max(chroma, 1), 2.4) * rng.uniform(0.8, 1)
    cos, sin = np.cos(turn), np.sin(turn)
    a, b = colours[..., 1], colours[..., 2]
    shifted = np.stack([colours[..., 0], cos * a - sin * b, sin * a + cos * b], axis=-1)
    towards = rng.uniform(0, 2 * np.pi)
    tint = max(0.0, amount - 2 * chroma * abs(np.sin(turn / 2)))  # greys have no hue to turn: they take a tint
    lightness = dominant[0, 0]
    brighter = amount * rng.uniform(0.1, 0.35) * (1 if lightness < 50 else -1)
    shade = np.clip(colours[..., 0] / max(float(lightness), 10), 0, 1.5)  # shadows take less of it, as paint does
    shifted[..., 0] += brighter * shade
    shifted[..., 1] += tint * np.cos(towards) * shade
    shifted[..., 2] += tint * np.sin(towards) * shade
    return rgb((colours + belongs * (shifted - colours)).astype(np.float32))
