"""Stage 3: the editor executes an instruction on the target, which thereby becomes the ground truth.

Whatever the editor, the change is measured, compared with the region that was asked for, and pasted back, so that
the input differs from the target only within the mask.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from schemas.ids import stream
from schemas.records import EditInstruction, Mask, Photo, Pixels, Polygon, Refusal
from schemas.settings import Edit, Settings
from tasks.codecs import encode_mask, encode_webp, load_photo
from tasks.engines.change import change_mask, paste_back
from tasks.engines.editor import EditRequest
from tasks.engines.likeness import psnr
from tasks.engines.load import load_editor
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered

VERSION = 2


def edit(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Execute edits (item_id = edit_id, target_id, target_sha256, instruction as JSON), one row each."""
    requests = [
        EditRequest(
            edit_id=item["item_id"],
            target=Photo(item["target_id"], load_photo(lake, item["target_sha256"])),
            instruction=EditInstruction.model_validate_json(item["instruction"]),
            strength=float(stream(settings.seed, item["item_id"], "strength").uniform(*settings.edit.strength)),
            seed=settings.seed,
        )
        for item in items
    ]
    for item, request, outcome in zip(items, requests, load_editor(settings).edit(requests), strict=True):
        facts = {
            "target_id": item["target_id"],
            "target_sha256": item["target_sha256"],
            "strength": request.strength,
        }
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **facts)
            continue
        facts["raw_sha256"] = lake.put_artifact(encode_webp(outcome), "webp")  # kept also when refused
        try:
            yield answered(item["item_id"], **facts, **_finish(lake, settings.edit, request, outcome))
        except Refusal as refusal:
            yield not_answered(item["item_id"], refusal, **facts)


def _finish(lake: Lake, settings: Edit, request: EditRequest, raw: Pixels) -> Row:
    """Measure a raw edit, refuse it or paste it back, store input and mask."""
    target = request.target.pixels
    if raw.shape != target.shape:
        raise Refusal("wrong-size", f"the edit is {raw.shape[1]} x {raw.shape[0]} px, the target is not")
    region = polygon_mask(request.instruction.region, target.shape[1], target.shape[0])
    changed = change_mask(target, raw)
    filled, outside = refuse_misplaced(changed, region, settings)
    # What lies well outside the region is left to the target; the soft border needs room within the mask.
    meant = changed & _grow(region, 2 * settings.feather)
    pasted = paste_back(target, raw, meant, settings.feather)
    mask = _grow(meant, settings.feather)
    pasted = np.where(mask[..., None], pasted, target)
    return {
        "input_sha256": lake.put_artifact(encode_webp(pasted), "webp"),
        "mask_sha256": lake.put_artifact(encode_mask(mask), "png"),
        "mask_area": float(mask.mean()),
        "filled": filled,
        "outside": outside,
        "psnr": psnr(pasted, target, mask),
    }


def refuse_misplaced(changed: Mask, region: Mask, settings: Edit) -> tuple[float, float]:
    """Return (share of the region that changed, share of the change outside it).

    Raises Refusal where the edit changed nothing, nearly everything, or the wrong place.
    """
    inside = float((changed & region).sum())
    filled = inside / max(1, int(region.sum()))
    area = float(changed.mean())
    outside = 1 - inside / max(1, int(changed.sum()))
    figures = {"filled": round(filled, 4), "outside": round(outside, 4), "area": round(area, 4)}
    if not changed.any():
        raise Refusal("unchanged", "the edit changed nothing", **figures)
    if area > settings.max_area:
        raise Refusal("repainted", f"the edit changed {area:.0%} of the image", **figures)
    if outside > settings.max_outside:
        raise Refusal("misplaced", f"{outside:.0%} of the change lies outside the region", **figures)
    if filled < settings.min_filled:
        raise Refusal("too-little", f"only {filled:.0%} of the region changed", **figures)
    return filled, outside


def polygon_mask(polygon: Polygon, width: int, height: int) -> Mask:
    """Return the (height, width) mask of a polygon in relative coordinates."""
    corners = np.round(np.array(polygon) * (width, height) - 0.5).astype(np.int32)
    return cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1).astype(bool)


def _grow(mask: Mask, pixels: int) -> Mask:
    if pixels == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)
