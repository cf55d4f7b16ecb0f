"""Detail lost or melted: smear, resample, autoencode."""

from pathlib import Path

import cv2
import numpy as np

from schemas.records import Refusal
from tasks.engines.autoencoder import LATENT_STRIDE, decode, encode, load_autoencoder
from tasks.engines.procedural.fields import lowpass, move, smooth_noise, step
from tasks.engines.procedural.region import Colours, Plane, Region, luma, single

LEAST_DETAIL = 1.2  # Lab lightness: the deviation below which a region has no detail to lose
AUTOENCODED_PIXELS = 112 * 112  # at most: the time a round trip takes is proportional


def require_detail(region: Region) -> None:
    """Raise Refusal when the region is too flat for a loss of detail to be seen."""
    lightness = region.lab[..., 0]
    deviation = float((lightness - lowpass(lightness, 4))[region.inside].std())
    if deviation < LEAST_DETAIL:
        raise Refusal("flat-region", f"the region's lightness deviates by {deviation:.2f} only", deviation=deviation)


def smear(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Melt the detail: drag it along a smooth random field, then along its own edges, and keep it crisp.

    Averaging along the flow in doubling steps is a line integral convolution; the shock filter (Osher and Rudin 1990)
    that follows turns the blurred edges into the crisp, merged ones that an undertrained generator draws.
    Raises Refusal when the region is flat.
    """
    require_detail(region)
    span = float(np.clip(region.reach, 6, 60))
    drag = strength * min(0.17 * span, 6) * step(region.depth, 0, 0.5 * region.reach)
    dx, dy = (drag * smooth_noise(rng, region.shape, max(8, 0.5 * span)) for _ in range(2))
    melted = move(region.pixels, dx, dy)
    flow_x, flow_y = _flow(melted, rng, span)
    for doubling in range(1 + round(3 * strength)):
        reach = np.float32(0.6 * 2**doubling)
        ahead = move(melted, flow_x * reach, flow_y * reach)
        behind = move(melted, -flow_x * reach, -flow_y * reach)
        melted = (melted + ahead + behind) / 3
    for _ in range(2 + round(3 * strength)):
        melted = _shock(melted)
    return melted


def _flow(pixels: Colours, rng: np.random.Generator, span: float) -> tuple[Plane, Plane]:
    """Return unit vectors along the image's edges where it has any, along a random swirl elsewhere."""
    grey = luma(pixels)
    gx, gy = cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 2.5) for product in (gx * gx, gy * gy, gx * gy))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    coherence = np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-4)
    swirl = np.pi * smooth_noise(rng, grey.shape, max(8, span))
    swirl_x, swirl_y = np.cos(swirl), np.sin(swirl)
    along_x, along_y = np.cos(angle), np.sin(angle)
    sign = np.where(along_x * swirl_x + along_y * swirl_y < 0, -1, 1)  # an edge has no direction: take the swirl's
    x = coherence * sign * along_x + (1 - coherence) * swirl_x
    y = coherence * sign * along_y + (1 - coherence) * swirl_y
    length = np.hypot(x, y) + 1e-6
    return single(x / length), single(y / length)


def _shock(pixels: Colours) -> Colours:
    """Return one step of a shock filter: dilate where the image is concave, erode where it is convex."""
    curvature = cv2.Laplacian(cv2.GaussianBlur(luma(pixels), (0, 0), 1.5), cv2.CV_32F)
    kernel = np.ones((3, 3), np.uint8)
    weight = 0.5 * np.tanh(curvature * 60)[..., None]
    grown, shrunk = cv2.dilate(pixels, kernel), cv2.erode(pixels, kernel)
    stepped = np.where(weight < 0, pixels - weight * (grown - pixels), pixels + weight * (shrunk - pixels))
    return stepped.astype(np.float32)


def resample(region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Lose detail by going down in size and up again, with the halos of an upscaler's sharpening.

    Raises Refusal when the region is flat.
    """
    require_detail(region)
    height, width = region.shape
    factor = 1.5 + 3 * strength * min(1, region.reach / 24)
    small = (max(2, round(width / factor)), max(2, round(height / factor)))
    down = (cv2.INTER_AREA, cv2.INTER_LINEAR)[
        int(rng.random() < 0.3)
    ]  # linear going down aliases, as careless code does
    up = (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(rng.integers(2))]
    lost = cv2.resize(cv2.resize(region.pixels, small, interpolation=down), (width, height), interpolation=up)
    halo = lost - lowpass(lost, 0.5 * factor)
    return single(lost + rng.uniform(0.5, 0.9) * halo)


def autoencode(region: Region, strength: float, rng: np.random.Generator, weights: Path | None) -> Colours:
    """Send the region through the tiny autoencoder at a reduced size, its latents disturbed a little.

    Raises Refusal when there are no weights or the region is flat.
    """
    if weights is None:
        raise Refusal("no-weights", "the editor was given no autoencoder weights")
    require_detail(region)
    height, width = region.shape
    factor = max(1 + 1.5 * strength, (height * width / AUTOENCODED_PIXELS) ** 0.5)
    cells = [max(2, round(side / factor / LATENT_STRIDE)) for side in (height, width)]
    size = (cells[1] * LATENT_STRIDE, cells[0] * LATENT_STRIDE)
    down = cv2.resize(region.pixels, size, interpolation=cv2.INTER_AREA)
    loaded = load_autoencoder(weights)
    latents = encode(loaded, single(down))
    latents = latents + 0.35 * strength * latents.std() * rng.standard_normal(latents.shape)
    redrawn = cv2.resize(decode(loaded, latents.astype(np.float32)), (width, height), interpolation=cv2.INTER_CUBIC)
    kept = region.pixels - cv2.resize(down, (width, height), interpolation=cv2.INTER_CUBIC)
    return single(redrawn + 0.8 * (1 - strength) * kept)
