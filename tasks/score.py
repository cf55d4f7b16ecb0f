"""Scores: what can be measured of a finished quadruplet, each once, as columns to filter and to sort by."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from schemas.records import Category, EngineFailure, Mask, Photo, Pixels
from schemas.settings import Scoring, Settings
from tasks.codecs import load_mask, load_photo, load_sides
from tasks.engines.align import align
from tasks.engines.correspond import match_once
from tasks.engines.embed import object_vector
from tasks.engines.foreground import foreground_once
from tasks.engines.likeness import ssim
from tasks.engines.load import load_classifier, load_embedder, load_lpips
from tasks.engines.overlap import reference_overlap
from tasks.engines.quality import clipped, compactness, exposure, sharpness
from tasks.engines.readable import readings, text_distance
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered

VERSION = 2

MARGIN = 4  # px about the mask: what a codec smears over its border is no fault of the alignment


def score(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Score quadruplets (rows of the view, with `resolution` and `reference_resolution`), one row each."""
    for item, (target, reference) in zip(items, load_sides(lake, items), strict=True):
        input, mask = load_photo(lake, item["input_sha256"]), load_mask(lake, item["mask_sha256"])
        raw = load_photo(lake, item["raw_sha256"])
        try:
            found = {
                "resolution": item["resolution"],
                "reference_resolution": item["reference_resolution"],
                "compactness": compactness(mask),
                **photo_scores(target, reference),
                **edit_scores(target, input, raw, mask),
                "reference_overlap": reference_overlap(match_once(target, reference), mask),
                **text_scores(target, input, mask, Category(item["category"])),
                **model_scores(settings.score, target, reference, input, mask),
            }
        except EngineFailure as failure:
            yield not_answered(item["item_id"], failure)
        else:
            yield answered(item["item_id"], **found)


def photo_scores(target: Photo, reference: Photo) -> Row:
    """Return how sharp and how well exposed the two photos are, both judged on the product."""
    here, there = foreground_once(target), foreground_once(reference)
    return {
        "sharpness": sharpness(target.pixels, here),
        "reference_sharpness": sharpness(reference.pixels, there),
        "exposure": exposure(target.pixels, here),
        "clipped": clipped(target.pixels, here),
    }


def edit_scores(target: Photo, input: Pixels, raw: Pixels, mask: Mask) -> Row:
    """Return how strong an edit is within its mask (H, W), and how far the raw edit lay off its target outside it.

    `likeness` is the cosine of what a network sees within the mask; the masked PSNR is known from the edit.
    `shift` (px) and `drift` (levels) were undone; `residue` (mean levels) is what still differs after that.
    """
    within = mask.astype(np.float32)
    before, after = object_vector(target.pixels, within), object_vector(input, within)
    (height, width), apart = mask.shape, _grown(mask)
    if raw.shape != input.shape:
        raw = np.asarray(cv2.resize(raw, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    aligned, drift = align(target.pixels, raw, apart)
    off = np.abs(aligned.astype(np.float32) - target.pixels)[~apart]
    return {
        "ssim": ssim(input, target.pixels, mask),
        "likeness": float(np.clip(before @ after, 0, 1)),
        "shift": float(np.hypot(drift.shift_x, drift.shift_y)),
        "drift": drift.colour,
        "residue": float(off.mean(dtype=np.float64)) if off.size else 0.0,
    }


def text_scores(target: Photo, input: Pixels, mask: Mask, category: Category) -> Row:
    """Return what is read at the mask in target and input, and the share of signs that differ.

    Nulls where the place bears no text; where the reader made nothing of the target's, there is nothing to differ.
    """
    found = readings(target, input, mask, category)
    if found is None:
        return {}
    before, after = found
    return {
        "text_before": before,
        "text_after": after,
        "text_distance": text_distance(before, after) if before else None,
    }


def model_scores(settings: Scoring, target: Photo, reference: Photo, input: Pixels, mask: Mask) -> Row:
    """Return the scores of models whose weights the settings name; the others stay null."""
    found: Row = {}
    if settings.lpips is not None:
        found["lpips"] = load_lpips(settings.lpips)(target.pixels, input, mask)
    for name, folder in (("clip", settings.clip), ("dino", settings.dino)):
        if folder is not None:
            found[name] = load_embedder(folder).likeness(target.pixels, input, mask)
    if settings.safety is not None:
        unsafe = load_classifier(settings.safety)
        found["unsafe"] = max(unsafe(pixels) for pixels in (target.pixels, reference.pixels, input))
    return found


def _grown(mask: Mask) -> Mask:
    disc: NDArray[np.uint8] = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * MARGIN + 1,) * 2).astype(np.uint8)
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)
