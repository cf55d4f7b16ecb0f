"""How an edit sits in the photo: soft edges that follow the photo's own, its grain, a generator's drift of tone."""

import cv2
import numpy as np

from schemas.records import Pixels
from tasks.engines.procedural.fields import smooth_noise, step
from tasks.engines.procedural.region import Colours, Plane, Region, lab, luma, rgb, single

DRIFT = 3.3  # Lab units at full strength: generators redraw a region a little off in tone
MOST_GRAIN = 0.02  # of the range 0..1: beyond, it is texture that was measured


def blend(
    target: Pixels, region: Region, painted: Colours, softness: float, strength: float, rng: np.random.Generator
) -> Pixels:
    """Return the photo with `painted` (RGB, 0..1, as large as the region's crop) laid into the region.

    `softness` is the width of the passage at the border as a share of the region's reach.
    """
    painted = drifted(grained(painted, region, rng), region, strength, rng)
    alpha = soft_edge(region, softness)[..., None]
    mixed = np.clip(region.pixels + alpha * (painted - region.pixels), 0, 1)
    edited = target.copy()
    crop = edited[region.rows, region.columns]
    edited[region.rows, region.columns] = np.where(alpha > 0, np.round(mixed * 255).astype(np.uint8), crop)
    return edited


def soft_edge(region: Region, softness: float) -> Plane:
    """Return the weight of the edit (h, w): 0 outside and at the region's border, 1 within, along the photo's edges.

    A guided filter (He, Sun and Tang 2010) of a hard-edged mask lets the transition fall on edges of the photo.
    """
    feather = float(np.clip(softness * region.reach, 1.5, 40 * softness))
    ramp = step(region.depth, 0.3, feather)
    core = (region.depth > feather / 2).astype(np.float32)
    guide = luma(region.pixels)
    size = (2 * round(feather) + 1,) * 2
    mean_guide, mean_core = cv2.boxFilter(guide, -1, size), cv2.boxFilter(core, -1, size)
    covariance = cv2.boxFilter(guide * core, -1, size) - mean_guide * mean_core
    slope = covariance / (cv2.boxFilter(guide * guide, -1, size) - mean_guide**2 + 1e-3)
    offset = mean_core - slope * mean_guide
    followed = np.clip(cv2.boxFilter(slope, -1, size) * guide + cv2.boxFilter(offset, -1, size), 0, 1)
    return single((ramp + followed) / 2 * step(region.depth, 0.3, min(2.5, feather + 1)))


def grain(pixels: Colours) -> float:
    """Return the deviation of the photo's noise (0..1 units), from the response of a Laplacian difference.

    The mask is Immerkaer's (1996), which image structure of second order does not reach; the lower quartile of its
    response over a crop tells noise from texture.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    response = np.abs(cv2.filter2D(luma(pixels), -1, kernel))
    return min(float(np.quantile(response, 0.25)) / 0.319, MOST_GRAIN)  # 0.319: the lower quartile of |N(0, 1)|


def noise(shape: tuple[int, int], deviation: float, rng: np.random.Generator) -> Colours:
    """Return a photo's noise (h, w, 3): a little wider than a pixel, its three channels partly alike."""
    drawn = rng.standard_normal((*shape, 3), dtype=np.float32)
    soft = cv2.GaussianBlur(drawn + 1.2 * drawn[..., :1], (0, 0), 0.5).astype(np.float32)
    return soft * np.float32(deviation / max(float(luma(soft).std()), 1e-6))


def grained(painted: Colours, region: Region, rng: np.random.Generator) -> Colours:
    """Return `painted` with as much grain added as it lacks against the photo."""
    missing = grain(region.pixels) ** 2 - grain(painted) ** 2
    return painted + noise(region.shape, missing**0.5, rng) if missing > 0 else painted


def drifted(painted: Colours, region: Region, strength: float, rng: np.random.Generator) -> Colours:
    """Return `painted` shifted in tone by about `DRIFT` Lab units at full strength, fading well within the region."""
    colours = lab(np.clip(painted, 0, 1))
    shift = rng.standard_normal(3) * (0.6, 0.7, 0.9)
    shift[0] = abs(shift[0]) + 0.5
    shift[0] *= 1 if np.median(colours[region.inside][:, 0]) < 55 else -1  # never into a clipped white or black
    shift *= DRIFT * (0.6 + 0.4 * strength) / np.linalg.norm(shift)
    uneven = 1 + 0.15 * smooth_noise(rng, region.shape, max(region.shape) / 3)
    weight = uneven * step(region.depth, 0, max(4.0, 0.35 * region.reach))
    return rgb((colours + shift * weight[..., None]).astype(np.float32))
