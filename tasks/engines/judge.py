"""The classical pair judge: same product, consistent style, reasonable viewpoints, without any language model.

Three questions, each answered from something measured on the object rather than on the scene (photos of different
products often share a bench or a lawn): how alike the two products look as a whole, how much surface can be matched
point by point with the colours agreeing, and how light, colour and sharpness of the photos compare. A glance spares
most pairs the matcher; a pair that may be one is looked at closer: whether its views share a surface at all, and
whether the products say the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import PairJudgement, Photo, Refusal
from tasks.engines.agree import CUT, KNOWN_CUT, agreement, share_surface
from tasks.engines.correspond import Correspondences, alike, features_once, glance, match_once, transfer
from tasks.engines.embed import vector_once
from tasks.engines.foreground import foreground_once, object_box
from tasks.engines.ocr import text_once
from tasks.engines.once import once_a_photo
from tasks.engines.reading import contradiction
from tasks.engines.style import Look, colours_at, look_of, style
from tasks.engines.vlm import PairQuestion

# Logistic regression of "same product" on three figures: the cosine and log(1 + x/3) of the two matched surfaces.
# Fitted to the true and false pairs among the eight nearest neighbours of each of the 105 photos of 20 products
# (DreamBooth), ridge 0.015 a pair on standardised figures (`omnirefiner calibrate` fits it anew). Scored by fits that
# saw neither product of a pair, a cut of 0.75 accepts 140 pairs, all of them right, at recall 0.619
# (glance and closer look, which refuse some before that, were fitted to all products). Fits on half of the
# products were too few: the half without look-alikes set its probabilities too high for the other's.
INTERCEPT, WEIGHTS = -11.14, (14.34, 0.7224, 0.7755)
# The same of what a glance tells, the cosine and log(1 + x/3) of the detailed surface. Of 252 false pairs among those
# neighbours WORTH_MATCHING spares the matcher 196, of the true pairs that it would find alike none; the least likely of
# those accepted has 0.42. Look-alikes are not spared: of 602 pairs of rendered products of one kind, 8%.
GLANCE_INTERCEPT, GLANCE_WEIGHTS = -11.75, (14.83, 1.499)
WORTH_MATCHING = 0.3
SAME_SHOT = 0.97  # correlation of small copies from which two photos are one shot; other pairs reach 0.92
LEAST_SHARED = 1.5  # matched surface (in full-confidence points) below which two views have nothing in common
CHROMA_SLACK, COLOUR_SLACK = 15.0, 15.0  # CIELAB units that light alone changes a surface by
DOUBTED = 0.3  # same_product below which a pair of unknown products is not looked at closer


@dataclass(frozen=True)
class View:
    """What of a photo is needed to judge it against others, computed once.

    `look` is what decides its style; `shot` (48, 48) float32 a small grey copy for finding the same shot again;
    `object_points` (M, 2) float32 a lattice on the object, relative; `extent` the object's larger side as a share of
    the photo's.
    """

    look: Look
    shot: NDArray[np.float32]
    object_points: NDArray[np.float32]
    extent: float


def judge_pair(question: PairQuestion, known_same: bool = False) -> PairJudgement:
    """Return how well two photos pair.

    `known_same` says that the product is known to be the same one (product folders, a manifest): `same_product` is
    then 1, and only the views are judged.

    Raises Refusal: "identical" (same pixels), "near-identical" (the same shot again, resized, recompressed, mirrored
    or cropped a little), "another-product" (the objects look nothing alike, or say different things at one place),
    "nothing-in-common" (no surface can be matched between the views, or what matches is not one surface: nothing could
    be restored from the reference).
    """
    target, reference = question.target, question.reference
    if target.image_id == reference.image_id or np.array_equal(target.pixels, reference.pixels):
        raise Refusal("identical", "both photos are the same image")
    here, there = view_once(target), view_once(reference)
    same_shot = _same_shot(here.shot, there.shot)
    if same_shot >= SAME_SHOT:
        raise Refusal("near-identical", "both photos are the same shot", correlation=round(same_shot, 4))
    cosine = float(vector_once(target) @ vector_once(reference))
    _, glanced = matched_surface(glance(features_once(target), features_once(reference)), here, there)
    evidence: dict[str, Any] = {"cosine": round(cosine, 4), "glanced_matches": round(glanced, 2)}
    if not known_same and likely_at_a_glance(cosine, glanced) < WORTH_MATCHING:
        raise Refusal("another-product", "the objects look nothing alike", **evidence)

    c = match_once(target, reference)
    coloured, detailed = matched_surface(c, here, there)
    same_product = 1.0 if known_same else likely_same(cosine, coloured, detailed)
    evidence |= {
        "matches": len(c.scores),
        "inliers": int(c.inlier.sum()),
        "coloured_matches": round(coloured, 2),
        "detailed_matches": round(detailed, 2),
        "same_shot_correlation": round(same_shot, 4),
    }
    if coloured < LEAST_SHARED:
        raise Refusal("nothing-in-common", "no surface of the target was found in the reference", **evidence)
    if same_product >= DOUBTED:
        evidence |= _look_closer(question, c, known_same, evidence)
    shared, change = _shared_and_changed(c, here, there)
    viewpoint = _viewpoint(shared, change)
    on_object = c.inlier & (c.on_object > 0.5)
    seen = on_object if on_object.any() else c.inlier
    how_alike, apart = style(here.look, there.look, c.points_target[seen], c.points_reference[seen])
    evidence |= {"shared": round(shared, 4), "view_change": round(change, 4), "style_apart": apart}
    return PairJudgement(
        same_product=same_product,
        style=how_alike,
        viewpoint=viewpoint,
        reason=_reason(same_product, known_same, len(c.scores[c.inlier]), shared, change, how_alike, apart),
        evidence=evidence,
    )


def _look_closer(
    question: PairQuestion, c: Correspondences, known_same: bool, evidence: dict[str, Any]
) -> dict[str, Any]:
    """Return what a closer look adds to the evidence. Raises Refusal as `judge_pair` does."""
    seen = agreement(question.target, question.reference, c)
    sharing = share_surface(evidence["cosine"], seen)
    closer = {name: round(figure, 4) for name, figure in {**asdict(seen), "share_surface": sharing}.items()}
    if sharing < (KNOWN_CUT if known_same else CUT):
        raise Refusal("nothing-in-common", "what matches in the two views is not one surface", **evidence, **closer)
    if not known_same:
        said = contradiction(text_once(question.target), text_once(question.reference), c)
        if said is not None:
            detail = f"the target says {said[0]!r} where the reference says {said[1]!r}"
            raise Refusal("another-product", detail, **evidence, **closer)
    return closer


def likely_at_a_glance(cosine: float, glanced: float) -> float:
    """Return the probability (0..1) that two photos show the same product, before their surfaces are matched."""
    return _probability(GLANCE_INTERCEPT, GLANCE_WEIGHTS, (cosine, float(np.log1p(glanced / 3))))


def likely_same(cosine: float, coloured: float, detailed: float) -> float:
    """Return the probability (0..1) that two photos show the same product, among candidates that look alike."""
    return _probability(INTERCEPT, WEIGHTS, figures(cosine, coloured, detailed))


def figures(cosine: float, coloured: float, detailed: float) -> tuple[float, float, float]:
    """Return what the regression goes by; `calibrate` fits it anew to the evidence that pairs bear."""
    return cosine, float(np.log1p(coloured / 3)), float(np.log1p(detailed / 3))


def _probability(intercept: float, weights: Sequence[float], seen: Sequence[float]) -> float:
    logit = intercept + sum(weight * figure for weight, figure in zip(weights, seen, strict=True))
    return float(1 / (1 + np.exp(-logit)))


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
    colour = colours_at(target.look, c.points_target[kept]) - colours_at(reference.look, c.points_reference[kept])
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
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    return View(
        look=look_of(pixels, likely),
        shot=cv2.GaussianBlur(cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA), (0, 0), 1.0).astype(np.float32),
        object_points=points[solid] if solid.any() else points,
        extent=max((right - left) * width, (bottom - top) * height) / max(width, height),
    )


view_once = once_a_photo(_view_of)  # a photo's view, computed once


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


def _reason(
    same: float, known: bool, inliers: int, shared: float, change: float, style: float, apart: dict[str, float]
) -> str:
    who = "Given as the same product" if known else f"The same product with a probability of {same:.0%}"
    view = "almost the same view" if change < 0.4 else "a moderately changed view" if change < 1.5 else "another view"
    widest = max(apart, key=lambda name: abs(apart[name])).replace("_", "-")
    look = "a consistent style" if style > 0.5 else f"a style that differs most in {widest}"
    return f"{who}: {inliers} points match, {shared:.0%} of its surface is in both photos, {view}, {look}."
