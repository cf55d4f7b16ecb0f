"""The reference warped into the mask: the strongest honest baseline without learning.

Matches outside the mask say how the surface lies (those inside are of the damage). Several warps are fitted to them and
refined on the pixels of a ring about the mask; the one that fits the ring best is taken, brought to the ring's colours,
and laid into the mask. Where none fits the ring the draft stays as it is: nothing says what belongs there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmark.cases import Problem
from benchmark.models import Answer
from benchmark.models.blend import laid
from schemas.ids import sha256
from schemas.records import Mask, Photo, Pixels
from tasks.engines.correspond import Correspondences, features, features_once, match, transfer
from tasks.engines.foreground import foreground

Places = NDArray[np.float32]  # (H, W, 2)

FEWEST = 5  # matches about a mask that say how the surface lies there
NEAREST = (12, 30, 80)  # matches about the mask that a warp is fitted to: few follow a bent surface, many are sure
TOLERANCE = 3.0  # px that a match may lie off a warp
RING = 0.35  # width of the ring about a mask, of the mask's size
LEAST_FIT = 0.85  # correlation of the ring with the warped reference, from which it is believed
ROUNDS = 40  # of the refinement
FARTHEST = 3.0  # px of the draft that the refinement may move a ring: more is no refinement
FITS = 6  # of the colours, each with what fits badly weighing less
STEADY = 30.0  # levels, squared: a ring of one colour says nothing of a gain, which then stays about 1
MOST_LEFT = 16.0  # levels that the ring may differ by beyond gain and offset, and still be light
STEP = 8  # px of the lattice on which matches are asked where a pixel lies
NOWHERE = -1e4
SMOOTH = 1.0  # px, before pictures are compared


class Paste:
    """A `Model` that pastes what the reference shows."""

    at_once = 4

    def __init__(self) -> None:
        self.about: dict[str, Any] = {
            "model": "paste",
            "how": "warp the reference, match its colours, paste within the mask",
        }

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        """Return the drafts with the reference pasted; one that cannot be matched comes back as it is."""
        return [pasted(problem) for problem in problems]


@dataclass(frozen=True)
class Warped:
    """The reference as the draft's surface would show it (H, W, 3) float32, where it shows it (H, W), and how well.

    `places` (H, W, 2) float32 says which px (x, y) of the reference each pixel is.
    """

    places: Places
    pixels: NDArray[np.float32]
    shown: Mask
    fit: float


def pasted(problem: Problem) -> Pixels:
    """Return a draft with the reference pasted into its mask, or as it is where nothing says how."""
    mask, draft = problem.mask, problem.input
    best = laid_over(problem) if mask.any() else None
    if best is None or best.fit < LEAST_FIT:
        return draft
    mended = recoloured(best, draft, ring_about(mask), mask)
    worth = cv2.GaussianBlur(cv2.erode(best.shown.astype(np.float32), np.ones((5, 5))), (0, 0), 1.5)
    return laid(draft, mended, mask, np.asarray(worth * best.shown, np.float32))


def laid_over(problem: Problem) -> Warped | None:
    """Return the reference as it fits the ring about the mask best; None where too little of it is shown."""
    draft, shown, ring = problem.input, problem.reference, ring_about(problem.mask)
    reference = Photo(sha256(shown.tobytes()), shown)
    matches = _outside(match(features(draft, foreground(draft)), features_once(reference)), problem.mask)
    found = [
        moved
        for warp in warps(matches, problem.mask)
        if (first := _warped(draft, shown, _places(warp, ring), ring)) is not None
        for moved in (first, *_moved(draft, shown, warp, first, ring))
    ]
    local = _warped(draft, shown, _transferred(matches, ring | problem.mask), ring)
    found += [local] if local is not None else []
    return max(found, key=lambda one: one.fit, default=None)


def ring_about(mask: Mask) -> Mask:
    """Return the ring about a mask (H, W), whose pixels are as they should be."""
    reach = max(6, round(RING * _size(mask)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool) & ~mask


def _outside(matches: Correspondences, mask: Mask) -> Correspondences:
    """Return the inliers that lie outside the mask, those that are nearest to it first."""
    height, width = mask.shape
    x, y = (matches.points_target * (width, height)).astype(int).clip(0, (width - 1, height - 1)).T
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[y, x]
    kept = np.argsort(away, kind="stable")
    kept = kept[(matches.inlier & ~mask[y, x])[kept]]
    each = ("points_target", "points_reference", "scores", "likeness", "inlier", "on_object")
    return replace(matches, **{name: getattr(matches, name)[kept] for name in each})


def warps(matches: Correspondences, mask: Mask) -> Iterator[NDArray[np.float64]]:
    """Yield homographies (3, 3) from px of the draft to px of the reference, fitted to the nearest matches."""
    here = (matches.points_target * mask.shape[::-1]).astype(np.float32)
    there = (matches.points_reference * matches.reference_size).astype(np.float32)
    for count in sorted({min(count, len(here)) for count in NEAREST}):
        if count < FEWEST:
            continue
        affine, _ = cv2.estimateAffine2D(here[:count], there[:count], ransacReprojThreshold=TOLERANCE)
        if affine is not None and _sound(affine[:, :2]):
            yield np.vstack([affine, (0, 0, 1)])
        if count >= 2 * FEWEST:
            plane, _ = cv2.findHomography(here[:count], there[:count], cv2.RANSAC, TOLERANCE)
            if plane is not None and _sound(plane[:2, :2] / plane[2, 2]):
                yield plane / plane[2, 2]


def _sound(linear: NDArray[Any]) -> bool:
    """Tell whether a map neither mirrors nor squashes."""
    small, large = np.linalg.svd(linear, compute_uv=False)[::-1]
    return bool(np.linalg.det(linear) > 0 and small > 0.15 and large < 7 and large < 4 * small)


def _places(warp: NDArray[np.float64], ring: Mask) -> Places:
    """Return where a homography puts each pixel."""
    height, width = ring.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    moved = np.stack([x, y, np.ones_like(x)], axis=-1) @ warp.T
    return np.asarray(moved[..., :2] / moved[..., 2:], np.float32)


def _transferred(matches: Correspondences, asked: Mask) -> Places:
    """Return where the matches about it put each pixel, one by one: surfaces bend. Elsewhere it lies nowhere."""
    height, width = asked.shape
    coarse = np.zeros((-(-height // STEP) + 1, -(-width // STEP) + 1, 2), np.float32)
    rows, columns = np.mgrid[: coarse.shape[0], : coarse.shape[1]]
    points = np.stack([columns * STEP / width, rows * STEP / height], axis=-1).reshape(-1, 2).astype(np.float32)
    places, _ = transfer(matches, points)
    coarse[:] = (places * matches.reference_size).reshape(coarse.shape)
    grid = np.array([[STEP, 0, 0], [0, STEP, 0]], np.float32)
    full = cv2.warpAffine(coarse, grid, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.where(asked[..., None] & np.isfinite(full), full, NOWHERE).astype(np.float32)


def _moved(draft: Pixels, reference: Pixels, warp: NDArray[np.float64], first: Warped, ring: Mask) -> Iterator[Warped]:
    """Yield warps that were moved until the ring lies on the draft's (ECC: Evangelidis and Psarakis, PAMI 2008)."""
    one, other = (_grey(picture) for picture in (draft, first.pixels))
    top, left, bottom, right = _box(ring)
    window = np.s_[top:bottom, left:right]
    compared = (ring & first.shown)[window].astype(np.uint8)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ROUNDS, 1e-4)
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], float)
    for kind, start in ((cv2.MOTION_AFFINE, np.eye(2, 3)), (cv2.MOTION_HOMOGRAPHY, np.eye(3))):
        try:
            _, step = cv2.findTransformECC(
                one[window], other[window], start.astype(np.float32), kind, criteria, compared, 1
            )
        except cv2.error:  # it does not converge
            continue
        step = np.vstack([step, (0, 0, 1)])[:3].astype(np.float64)
        closer = _warped(draft, reference, _places(warp @ shift @ step @ np.linalg.inv(shift), ring), ring)
        if closer is None:
            continue
        apart = np.linalg.norm(closer.places - first.places, axis=-1)[ring]  # px of the reference
        if np.median(apart) <= FARTHEST * np.sqrt(abs(np.linalg.det(warp[:2, :2]))):
            yield closer


def _size(mask: Mask) -> float:
    return float(np.sqrt(mask.sum()))


def _warped(draft: Pixels, reference: Pixels, places: Places, ring: Mask) -> Warped | None:
    """Return the reference as it lies at these places; None where hardly anything of the ring is shown."""
    height, width = reference.shape[:2]
    x, y = places[..., 0], places[..., 1]
    shown = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    compared = ring & shown
    if compared.sum() < 0.5 * ring.sum():
        return None
    across = [np.gradient(plane, axis=axis)[compared] for plane in (x, y) for axis in (1, 0)]
    scale = float(np.sqrt(np.median(np.abs(across[0] * across[3] - across[1] * across[2]))))
    if scale > 1.5:  # the reference shows it larger: what is finer than the draft's pixels would alias
        reference = np.asarray(cv2.GaussianBlur(reference, (0, 0), 0.4 * scale), np.uint8)
    moved = cv2.remap(reference.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    pixels = np.asarray(moved, np.float32)
    return Warped(places, pixels, shown, _fit(draft, pixels, compared))


def _grey(picture: NDArray[Any]) -> NDArray[np.float32]:
    grey = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), SMOOTH), np.float32)


def _fit(draft: Pixels, warped: NDArray[np.float32], compared: Mask) -> float:
    """Return how well two pictures agree on a ring: the correlation of all channels, brightness and contrast aside."""
    one, other = (cv2.GaussianBlur(picture.astype(np.float32), (0, 0), SMOOTH)[compared] for picture in (draft, warped))
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return float((one * other).sum() / max(1e-6, float(np.sqrt((one**2).sum() * (other**2).sum()))))


def recoloured(warped: Warped, draft: Pixels, ring: Mask, mask: Mask) -> Pixels:
    """Return the warped reference (H, W, 3) in the draft's light.

    First a gain and an offset a channel, fitted to the ring; then what the ring still differs by, spread smoothly over
    the mask, since light changes across a surface. What shows another thing on the ring is outvoted both times.
    """
    compared = ring & warped.shown
    found, wanted = (_soft(picture)[compared] for picture in (warped.pixels, draft))  # (N, 3)
    gain, offset, trust = np.ones(3, np.float32), np.median(wanted - found, axis=0), np.ones(len(found), np.float32)
    for _ in range(FITS):
        apart = np.abs(gain * found + offset - wanted).max(axis=1)
        trust = 1 / (1 + (apart / max(4.0, 1.5 * float(np.median(apart)))) ** 2) ** 2
        share = (trust / trust.sum())[:, None]
        mean_found, mean_wanted = (share * found).sum(axis=0), (share * wanted).sum(axis=0)
        spread = (share * (found - mean_found) ** 2).sum(axis=0) + STEADY
        gain = ((share * (found - mean_found) * (wanted - mean_wanted)).sum(axis=0) + STEADY) / spread
        gain = np.clip(gain, 0.6, 1.6)
        offset = mean_wanted - gain * mean_found
    pixels = gain * warped.pixels + offset
    known = np.zeros(mask.shape, np.float32)
    known[compared] = trust
    left = np.clip(_soft(draft) - _soft(pixels), -MOST_LEFT, MOST_LEFT) * known[..., None]
    total, weight = np.zeros_like(left), np.full(mask.shape, 1e-3, np.float32)
    for reach, worth in ((0.15, 1.0), (0.5, 0.05)):  # by the border what lies nearest counts, in the middle all of it
        sigma = max(2.0, reach * _size(mask))
        total += worth * cv2.GaussianBlur(left, (0, 0), sigma)
        weight += worth * cv2.GaussianBlur(known, (0, 0), sigma)
    return np.asarray(np.rint(np.clip(pixels + total / weight[..., None], 0, 255)), np.uint8)


def _soft(picture: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2 * SMOOTH), np.float32)


def _box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
