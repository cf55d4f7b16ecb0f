"""A closer look at a pair that may show one surface: is it found again as widely as it should be, and is it alike?

Front and back of a shirt have one outline, front and back of a mug one band, and both match there. But where the views
do share a surface, and its points are told apart well, most of them are found again, and what is laid over each other
looks alike.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Photo, Polygon
from tasks.engines.correspond import Correspondences, Points, features_once, transfer
from tasks.engines.foreground import foreground_once

SIDE = 128  # px on the longer side of the photos laid over each other
STEP = 4  # px between the places whose counterparts are asked for; the others lie between
WINDOW = 2.0  # px: standard deviation of the window in which two surfaces are correlated
SLACK = 1  # px that the one may lie off the other
PLAIN, RICH = 1.5, 20.0  # of L*: deviations in a window that weigh nothing, and that weigh most
NOISE = 4.0  # variance of L* that a window has anyway
UNLIKE = 0.3  # correlation below which two surfaces are not alike

# Logistic regression of "the views share this surface" on the figures below and the embeddings' cosine. Fitted to 174
# rendered pairs of one side and 76 of a front and a back (18 products, seed 202), and to the 142 true pairs of
# DreamBooth that the first look accepts. CUT refuses 85% of those fronts and backs, none of the rendered pairs of one
# side, 8% of the real ones. Where the product is given, nothing else doubts a pair: KNOWN_CUT is one step of 0.05 above
# the lowest at which 95% of the instructions for 18 other products (seed 303) were visible, and refuses 16% of the true
# real pairs that pass CUT. docs/quality.md says what both do on others.
INTERCEPT, WEIGHTS = 5.7048, (1.0619, 4.257, -18.903, -9.8582, 13.4491)
CUT, KNOWN_CUT = 0.4, 0.55
LEAST_LIKENESS = 0.65  # of the pairs it was fitted to


@dataclass(frozen=True)
class Agreement:
    """How a closer look found a pair.

    `found` (0 upward) is how many points were found again for each keypoint on the product, in the photo with more of
    those; it passes 1 where the surroundings are found again as well. `vouched`
    (0..1) the share of the target's product whose place in the reference is vouched for; `likeness` (-1..1) the mean
    cosine of the found points' descriptors; `unlike` (0..1) the share of the vouched-for texture that looks otherwise
    in the reference.
    """

    found: float
    vouched: float
    likeness: float
    unlike: float


@dataclass(frozen=True)
class Overlay:
    """The reference laid over the target by their matches, (h, w) each: whether a place is on the product and vouched
    for (bool), how rich in texture it is (0 upward) and whether it looks otherwise in the reference (bool).
    """

    shared: NDArray[np.bool_]
    texture: NDArray[np.float32]
    unlike: NDArray[np.bool_]

    def unlike_in(self, region: Polygon) -> float:
        """Return the share (0..1) of a region's texture that looks otherwise in the reference."""
        height, width = self.texture.shape
        inside = np.zeros((height, width), dtype=np.uint8)
        corners = np.asarray(region) * (width, height) - 0.5
        cv2.fillPoly(inside, [np.round(corners).astype(np.int32)], 1)
        return self._share(inside > 0)

    def unlike_shared(self) -> float:
        """Return the share (0..1) of all the texture vouched for that looks otherwise in the reference."""
        return self._share(self.shared)

    def _share(self, where: NDArray[np.bool_]) -> float:
        return float(self.texture[where & self.unlike].sum() / max(float(self.texture[where].sum()), 1e-6))


def agreement(target: Photo, reference: Photo, c: Correspondences) -> Agreement:
    """Return how far two photos agree by their matches."""
    if not c.inlier.any():
        return Agreement(0.0, 0.0, 0.0, 1.0)
    sides = features_once(target), features_once(reference)
    found = min(c.inlier.sum() / max(1, (side.on_object > 0.5).sum()) for side in sides)
    laid = lay_over(target, reference, c)
    vouched = laid.shared.sum() / max(1, _on_object(target, laid.shared.shape).sum())
    return Agreement(float(found), float(vouched), float(c.likeness[c.inlier].mean()), laid.unlike_shared())


def share_surface(cosine: float, seen: Agreement) -> float:
    """Return the probability (0..1) that the views share the surface that was matched; 0 where no place is vouched for.

    It falls with `likeness`: where points are told apart well, few of them found again are a bad sign.
    """
    if seen.found == 0 or seen.vouched == 0:
        return 0.0
    likeness = max(seen.likeness, LEAST_LIKENESS)
    figures = (np.log(seen.found + 0.03), seen.vouched, likeness, seen.unlike, cosine)
    logit = INTERCEPT + sum(weight * figure for weight, figure in zip(WEIGHTS, figures, strict=True))
    return float(1 / (1 + np.exp(-logit)))


def lay_over(target: Photo, reference: Photo, c: Correspondences) -> Overlay:
    """Return how the reference looks, laid over the target at SIDE px."""
    here, there = _lightness(target), _lightness(reference)
    height, width = here.shape
    rows, columns = np.mgrid[0:height:STEP, 0:width:STEP]
    asked: Points = np.stack([(columns.ravel() + 0.5) / width, (rows.ravel() + 0.5) / height], axis=1)
    places, vouched_for = transfer(c, asked.astype(np.float32))
    x, y = (_spread(np.nan_to_num(plane).reshape(rows.shape), here.shape) for plane in places.T)
    certain = _spread(vouched_for.reshape(rows.shape).astype(np.float32), here.shape) > 0.5
    over = cv2.remap(
        there, x * there.shape[1] - 0.5, y * there.shape[0] - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    alike, texture = _correlated(here, np.asarray(over, dtype=np.float32))
    texture = np.asarray(np.clip(texture, PLAIN, RICH) - PLAIN, dtype=np.float32)
    return Overlay(certain & _on_object(target, here.shape), texture, alike < UNLIKE)


def _on_object(photo: Photo, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    small = cv2.resize(foreground_once(photo), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small > 0.5, dtype=np.bool_)


def _lightness(photo: Photo) -> NDArray[np.float32]:
    """Return L* (0..100) at SIDE px."""
    scale = SIDE / max(photo.pixels.shape[:2])
    small = cv2.resize(photo.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.ascontiguousarray(lab[..., 0], dtype=np.float32)


def _spread(coarse: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a plane known every STEP px at each px of `shape` (H, W)."""
    grid = np.array([[STEP, 0, 0], [0, STEP, 0]], dtype=np.float32)
    full = cv2.warpAffine(coarse, grid, (shape[1], shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(full, dtype=np.float32)


def _correlated(
    here: NDArray[np.float32], over: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the best correlation (-1..1) of the windows about each px, and the larger deviation of the two there."""
    mean, variance = _moments(here)
    best, deviation = np.full_like(here, -1), np.zeros_like(here)
    for down in range(-SLACK, SLACK + 1):
        for right in range(-SLACK, SLACK + 1):
            moved = np.roll(over, (down, right), axis=(0, 1))
            mean_moved, variance_moved = _moments(moved)
            covariance = _window(here * moved) - mean * mean_moved
            correlation = covariance / np.sqrt((variance + NOISE) * (variance_moved + NOISE))
            better = correlation > best
            best[better] = correlation[better]
            deviation[better] = variance_moved[better]
    return best, np.sqrt(np.maximum(variance, deviation))


def _moments(plane: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = _window(plane)
    return mean, np.maximum(_window(plane * plane) - mean * mean, 0)


def _window(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), WINDOW), dtype=np.float32)
