"""Stage 3: the editor executes an instruction on the target, which thereby becomes the ground truth.

Whatever the editor, its answer is brought to the target's size, place and colours; then the change is measured,
compared with the region that was asked for, and pasted back, so that the input differs from the target only within the
mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from schemas.ids import stream
from schemas.records import EditInstruction, Mask, Photo, Pixels, Polygon, Refusal
from schemas.settings import Edit, Settings
from tasks.codecs import encode_mask, encode_webp, load_photo
from tasks.engines.align import Drift, align
from tasks.engines.change import change_mask, paste_back
from tasks.engines.editor import EditRequest
from tasks.engines.likeness import psnr
from tasks.engines.load import load_editor
from tasks.lake import Lake
from tasks.ledger import Row, answered, not_answered
from tasks.requests import Requests

VERSION = 3

BLACK = 8  # levels (0..255): an answer that is nowhere brighter is none
MARGIN = 8  # px about the region: what may be touched by the edit says nothing of how the photo was moved
SAME_SHAPE = 0.02  # by how much an answer's aspect may differ from the target's: models round sides to their patches


@dataclass(frozen=True)
class Measured:
    """An edit, aligned with its target, and what it changed."""

    pixels: Pixels
    drift: Drift
    region: Mask
    changed: Mask

    @property
    def filled(self) -> float:
        """Return the share of the region that changed."""
        return float((self.changed & self.region).sum() / max(1, self.region.sum()))

    @property
    def outside(self) -> float:
        """Return the share of the change that lies outside the region."""
        return float((self.changed & ~self.region).sum() / max(1, self.changed.sum()))

    def columns(self) -> Row:
        """Return the figures as columns of the ledger."""
        off = {"shift_x": self.drift.shift_x, "shift_y": self.drift.shift_y, "drift": self.drift.colour}
        return {**off, "filled": self.filled, "outside": self.outside}


def edit(lake: Lake, settings: Settings, items: Sequence[Row]) -> Iterator[Row]:
    """Execute edits (item_id = edit_id, target_id, target_sha256, instruction as JSON), one row each."""
    spent = Requests(lake)
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
    for item, request, outcome in zip(items, requests, load_editor(settings, spent).edit(requests), strict=True):
        facts = {
            "target_id": item["target_id"],
            "target_sha256": item["target_sha256"],
            "strength": request.strength,
            **spent.columns(item["item_id"]),
        }
        if isinstance(outcome, Exception):
            yield not_answered(item["item_id"], outcome, **facts)
            continue
        facts["raw_sha256"] = lake.put_artifact(encode_webp(outcome), "webp")  # kept also when refused
        try:
            measured = _measured(request, outcome)
            facts |= measured.columns()
            refuse_unfit(measured, settings.edit)
        except Refusal as refusal:
            yield not_answered(item["item_id"], refusal, **facts)
            continue
        yield answered(item["item_id"], **facts, **_finish(lake, settings.edit, request.target.pixels, measured))


def _measured(request: EditRequest, raw: Pixels) -> Measured:
    """Align a raw edit with its target and find what it changed. Raises Refusal where there is nothing to align."""
    target = request.target.pixels
    (height, width), brightest = target.shape[:2], int(raw.max())
    if brightest <= BLACK:
        raise Refusal("black", "the edit is black: the model broke down or held it back", brightest=brightest)
    aspect = raw.shape[1] / raw.shape[0] * height / width
    if abs(aspect - 1) > SAME_SHAPE:
        size = {"width": raw.shape[1], "height": raw.shape[0]}
        raise Refusal("wrong-size", f"the edit has {raw.shape[1]} x {raw.shape[0]} px, the target has not", **size)
    if raw.shape != target.shape:
        raw = np.asarray(cv2.resize(raw, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    region = polygon_mask(request.instruction.region, width, height)
    pixels, drift = align(target, raw, _grow(region, MARGIN))
    return Measured(pixels, drift, region, change_mask(target, pixels))


def refuse_unfit(edit: Measured, settings: Edit) -> None:
    """Raise Refusal where an edit lies too far off, or changed nothing, nearly everything, or the wrong place."""
    area, shift = float(edit.changed.mean()), float(np.hypot(edit.drift.shift_x, edit.drift.shift_y))
    figures = {"area": area, "shift": shift, **edit.columns()}
    figures = {name: round(figure, 4) for name, figure in figures.items()}
    if shift > settings.most_shift:
        raise Refusal("shifted", f"the edit lies {shift:.1f} px off its target", **figures)
    if not edit.changed.any():
        raise Refusal("unchanged", "the edit changed nothing", **figures)
    if area > settings.max_area:
        raise Refusal("repainted", f"the edit changed {area:.0%} of the image", **figures)
    if edit.outside > settings.max_outside:
        raise Refusal("misplaced", f"{edit.outside:.0%} of the change lies outside the region", **figures)
    if edit.filled < settings.min_filled:
        raise Refusal("too-little", f"only {edit.filled:.0%} of the region changed", **figures)


def _finish(lake: Lake, settings: Edit, target: Pixels, edit: Measured) -> Row:
    """Paste an edit back where that is asked for; store input and mask."""
    if settings.paste_back:
        # What lies well outside the region is left to the target; the soft border needs room within the mask.
        meant = edit.changed & _grow(edit.region, 2 * settings.feather)
        mask = _grow(meant, settings.feather)
        input = np.where(mask[..., None], paste_back(target, edit.pixels, meant, settings.feather), target)
    else:
        input, mask = edit.pixels, edit.changed
    return {
        "input_sha256": lake.put_artifact(encode_webp(input), "webp"),
        "mask_sha256": lake.put_artifact(encode_mask(mask), "png"),
        "mask_area": float(mask.mean()),
        "psnr": psnr(input, target, mask),
    }


def polygon_mask(polygon: Polygon, width: int, height: int) -> Mask:
    """Return the (height, width) mask of a polygon in relative coordinates."""
    corners = np.round(np.array(polygon) * (width, height) - 0.5).astype(np.int32)
    return cv2.fillPoly(np.zeros((height, width), np.uint8), [corners], 1).astype(bool)


def _grow(mask: Mask, pixels: int) -> Mask:
    if pixels == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return cv2.dilate(mask.astype(np.uint8), disc).astype(bool)
