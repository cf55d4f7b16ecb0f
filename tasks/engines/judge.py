"""The classical pair judge: same product, consistent style, reasonable viewpoints, without any language model.

Three questions, each answered from something measured on the object rather than on the scene (photos of different
products often share a bench or a lawn): how alike the two products look as a whole, how much surface can be matched
point by point with the colours agreeing, and how light, colour and sharpness of the photos compare.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import PairJudgement, Photo, Pixels, Refusal
from tasks.engines.correspond import QUICK_KEYPOINTS, Correspondences, alike, features_once, match, transfer
from tasks.engines.embed import vector_once
from tasks.engines.foreground import foreground_once, object_box
from tasks.engines.once import once_a_photo
from tasks.engines.vlm import PairQuestion

# Logistic regression of "same product" on three figures: the cosine and log(1 + x/3) of the two matched surfaces.
# Fitted to the 225 true and 275 false pairs among the eight nearest neighbours of each of the 105 photos of 20
# products (DreamBooth), ridge 0.015 a pair on standardised figures. Scored by fits that saw neither product of a
# pair, a cut of 0.8 gives precision 0.993 (140 of 141) at recall 0.62. Fits on half of the products were too few: the
# half without look-alikes set its probabilities too high for the other's. Refit when there are more products.
INTERCEPT, WEIGHTS = -9.0187, (11.5497, 0.6665, 0.7965)
UNLIKE = 0.5  # cosine below which matching is not worth its time: the least among 226 true pairs is 0.56
SAME_SHOT = 0.97  # correlation of small copies from which two photos are one shot; other pairs reach 0.92
LEAST_SHARED = 1.5  # matched surface (in full-confidence points) below which two views have nothing in common
CHROMA_SLACK, COLOUR_SLACK = 15.0, 15.0  # CIELAB units that light alone changes a surface by

STYLE_SPREAD = {  # standard deviation of each figure among photos of one product (DreamBooth's 20 products)
    "lightness": 7.3,
    "surroundings": 8.3,
    "contrast": 2.5,
    "red_green": 4.4,
    "yellow_blue": 7.0,
    "chroma": 6.9,
    "sharpness": 0.2,
}


@dataclass(frozen=True)
class View:
    """What of a photo is needed to judge it against others, computed once.

    `lab` (h, w, 3) float32 is the photo in CIELAB at 128 px; `shot` (48, 48) float32 a small grey copy for finding
    the same shot again; `object_points` (M, 2) float32 a lattice on the object, relative; `extent` the object's
    larger side as a share of the photo's; `style` the figures of STYLE_SPREAD.
    """

    lab: NDArray[np.float32]
    shot: NDArray[np.float32]
    object_points: NDArray[np.float32]
    extent: float
    style: dict[str, float]


def judge_pair(question: PairQuestion, known_same: bool = False) -> PairJudgement:
    """Return how well two photos pair.

    `known_same` says that the product is known to be the same one (product folders, a manifest): `same_product` is
    then 1, and only the views are judged.

    Raises Refusal: "identical" (same pixels), "near-identical" (the same shot again, resized, recompressed, mirrored
    or cropped a little), "another-product" (the objects look nothing alike), "nothing-in-common" (no surface can be
    matched between the views, so nothing could be restored from the reference).
    """
    target, reference = question.target, question.reference
    if target.image_id == reference.image_id or np.array_equal(target.pixels, reference.pixels):
        raise Refusal("identical", "both photos are the same image")
    here, there = view_once(target), view_once(reference)
    same_shot = _same_shot(here.shot, there.shot)
    if same_shot >= SAME_SHOT:
        raise Refusal("near-identical", "both photos are the same shot", correlation=round(same_shot, 4))
    cosine = float(vector_once(target) @ vector_once(reference))
    if cosine < UNLIKE and not known_same:
        raise Refusal("another-product", "the objects look nothing alike", cosine=round(cosine, 4))

    c = match(features_once(target), features_once(reference), QUICK_KEYPOINTS)
    coloured, detailed = matched_surface(c, here, there)
    same_product = 1.0 if known_same else likely_same(cosine, coloured, detailed)
    evidence: dict[str, Any] = {
        "cosine": round(cosine, 4),
        "matches": len(c.scores),
        "inliers": int(c.inlier.sum()),
        "coloured_matches": round(coloured, 2),
        "detailed_matches": round(detailed, 2),
        "same_shot_correlation": round(same_shot, 4),
    }
    if coloured < LEAST_SHARED:
        raise Refusal("nothing-in-common", "no surface of the target was found in the reference", **evidence)
    shared, change = _shared_and_changed(c, here, there)
    viewpoint = _viewpoint(shared, change)
    style, apart = _style(here.style, there.style)
    evidence |= {"shared": round(shared, 4), "view_change": round(change, 4), "style_apart": apart}
    return PairJudgement(
        same_product=same_product,
        style=style,
        viewpoint=viewpoint,
        reason=_reason(same_product, known_same, len(c.scores[c.inlier]), shared, change, style, apart),
        evidence=evidence,
    )


def likely_same(cosine: float, coloured: float, detailed: float) -> float:
    """Return the probability (0..1) that two photos show the same product, among candidates that look alike."""
    logit = INTERCEPT + sum(
        weight * figure for weight, figure in zip(WEIGHTS, figures(cosine, coloured, detailed), strict=True)
    )
    return float(1 / (1 + np.exp(-logit)))


def figures(cosine: float, coloured: float, detailed: float) -> tuple[float, float, float]:
    """Return what the regression goes by; `calibrate` fits it anew to the evidence that pairs bear."""
    return cosine, float(np.log1p(coloured / 3)), float(np.log1p(detailed / 3))


def matched_surface(c: Correspondences, target: View, reference: View) -> tuple[float, float]:
    """Return how much matches, counted in points of full confidence, twice over.

    `coloured` counts inliers on the object whose hue and saturation agree; `detailed` asks besides that their
    descriptors agree by themselves and their colour once the pair's common shift in light is taken away. Different
    products of one kind (two plush toys, two sneakers) match in their layout and differ in these.
    """
    if not c.inlier.any():
        return 0.0, 0.0
    kept = c.inlier
    weight = (c.scores * c.on_object)[kept].astype(np.float64)
    colour = _colour_at(target.lab, c.points_target[kept]) - _colour_at(reference.lab, c.points_reference[kept])
    chroma_apart = np.linalg.norm(colour[:, 1:], axis=1)
    colour_apart = np.linalg.norm(colour - np.median(colour, axis=0), axis=1)
    coloured = weight * np.exp(-((chroma_apart / CHROMA_SLACK) ** 2))
    detailed = weight * np.exp(-((colour_apart / COLOUR_SLACK) ** 2)) * alike(c)[kept]
    return float(coloured.sum()), float(detailed.sum())


def _view_of(photo: Photo) -> View:
    pixels = photo.pixels
    likely = foreground_once(photo)
    left, top, right, bottom = object_box(likely, margin=0.0)
    steps = (np.arange(20) + 0.5) / 20
    lattice = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = (lattice * (right - left, bottom - top) + (left, top)).astype(np.float32)
    height, width = likely.shape
    solid = likely[(points[:, 1] * height).astype(int), (points[:, 0] * width).astype(int)] > 0.4
    lab = _small_lab(pixels)
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return View(
        lab=lab,
        shot=cv2.GaussianBlur(cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA), (0, 0), 1.0).astype(np.float32),
        object_points=points[solid] if solid.any() else points,
        extent=max((right - left) * width, (bottom - top) * height) / max(width, height),
        style=_style_figures(lab, likely, grey),
    )


view_once = once_a_photo(_view_of)  # a photo's view, computed once


def _small_lab(pixels: Pixels) -> NDArray[np.float32]:
    scale = 128 / max(pixels.shape[:2])
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 0.75).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), dtype=np.float32)


def _colour_at(lab: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the colours (N, 3) at relative points."""
    height, width = lab.shape[:2]
    columns = np.clip((points[:, 0] * width).astype(int), 0, width - 1)
    rows = np.clip((points[:, 1] * height).astype(int), 0, height - 1)
    return np.asarray(lab[rows, columns], dtype=np.float32)


def _same_shot(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the best correlation (-1..1) of one small photo's middle with the other, also mirrored and rescaled."""
    best = -1.0
    for other in (second, np.ascontiguousarray(second[:, ::-1])):
        for whole, part in ((first, other), (other, first)):
            for side in (36, 38, 40, 42):  # brought to 36: crops by 0, 5, 10, 14%
                edge = (48 - side) // 2
                middle = part[edge : 48 - edge, edge : 48 - edge]
                template = cv2.resize(middle, (36, 36), interpolation=cv2.INTER_AREA)
                best = max(best, float(cv2.matchTemplate(whole, template, cv2.TM_CCOEFF_NORMED).max()))
    return best


def _shared_and_changed(c: Correspondences, here: View, there: View) -> tuple[float, float]:
    """Return the share (0..1) of the object's surface that both views show, and how far the view changed (0 upward).

    The change adds up, in units of a clear change: rotation in the image (20 degrees), size within the photo (a
    factor of 1.5), and what neither explains, parallax and other faces (5% of the object's size).
    """
    shared = float(transfer(c, here.object_points)[1].mean())
    source, image = c.points_target[c.inlier], c.points_reference[c.inlier]
    if len(source) < 3:
        return shared, 0.0
    first = (source * c.target_size / max(c.target_size)).astype(np.float64) @ np.array([1, 1j])
    second = (image * c.reference_size / max(c.reference_size)).astype(np.float64) @ np.array([1, 1j])
    first, second = first - first.mean(), second - second.mean()
    similarity = (first.conj() * second).sum() / max(float((np.abs(first) ** 2).sum()), 1e-12)
    parallax = float(np.sqrt(np.mean(np.abs(second - similarity * first) ** 2))) / max(there.extent, 0.05)
    rotation = abs(float(np.degrees(np.angle(similarity))))
    scale = abs(float(np.log(max(abs(similarity), 1e-6))))
    return shared, float(np.hypot(np.hypot(rotation / 20, scale / np.log(1.5)), parallax / 0.05))


def _viewpoint(shared: float, change: float) -> float:
    """Return how reasonable the change of view is (0..1).

    Most when half the surface or more is in both photos and the view has clearly changed; half as much for the very
    same view; less again where the change is so wide that the matches themselves grow doubtful.
    """
    enough = min(1.0, shared / 0.5)
    anew = 0.5 + 0.5 * (1 - np.exp(-2 * change))
    wild = 1 / (1 + (max(0.0, change - 2) / 3) ** 2)
    return float(enough * anew * wild)


def _style_figures(lab: NDArray[np.float32], likely: NDArray[np.float32], grey: NDArray[np.uint8]) -> dict[str, float]:
    """Return the figures of light, colour and sharpness; on the object, since a lawn for a wall is no other style."""
    weight = cv2.resize(likely, lab.shape[1::-1], interpolation=cv2.INTER_AREA) + 1e-3
    lightness, red_green, yellow_blue = (np.asarray(lab[..., channel], dtype=np.float64) for channel in range(3))
    light = float(np.average(lightness, weights=weight))
    edges = np.square(cv2.Laplacian(grey, cv2.CV_32F))
    return {
        "lightness": light,
        "surroundings": float(lightness.mean()),
        "contrast": float(np.sqrt(np.average((lightness - light) ** 2, weights=weight))),
        "red_green": float(np.average(red_green, weights=weight)),
        "yellow_blue": float(np.average(yellow_blue, weights=weight)),
        "chroma": float(np.average(np.hypot(red_green, yellow_blue), weights=weight)),
        "sharpness": float(np.log(np.sqrt(np.average(edges, weights=likely + 1e-3)) + 1)),
    }


def _style(first: dict[str, float], second: dict[str, float]) -> tuple[float, dict[str, float]]:
    """Return the likeness of two styles (0..1) and each figure's difference in standard deviations.

    Two photos of one product taken at random differ by 2 in mean square, and score 0.6.
    """
    apart = {name: round((first[name] - second[name]) / spread, 2) for name, spread in STYLE_SPREAD.items()}
    return float(np.exp(-np.mean(np.square(list(apart.values()))) / 4)), apart


def _reason(
    same: float, known: bool, inliers: int, shared: float, change: float, style: float, apart: dict[str, float]
) -> str:
    who = "Given as the same product" if known else f"The same product with a probability of {same:.0%}"
    view = "almost the same view" if change < 0.4 else "a moderately changed view" if change < 1.5 else "another view"
    widest = max(apart, key=lambda name: abs(apart[name])).replace("_", "-")
    look = "a consistent style" if style > 0.5 else f"a style that differs most in {widest}"
    return f"{who}: {inliers} points match, {shared:.0%} of its surface is in both photos, {view}, {look}."
