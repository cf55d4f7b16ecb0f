from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from schemas.records import Category, EditInstruction, EngineFailure, Mask, Operation, Photo, Pixels, Polygon, Refusal
from tasks.engines.change import change_mask
from tasks.engines.editor import EditRequest
from tasks.engines.procedural import ProceduralEditor
from tests.tasks.engines.test_autoencoder import random_weights

PRODUCTS = Path(__file__).parents[3] / "../shared/data/products"
SIDE = 320
TEXT: Polygon = ((0.12, 0.1), (0.88, 0.1), (0.88, 0.3), (0.12, 0.3))
LOGO: Polygon = ((0.1, 0.4), (0.42, 0.4), (0.42, 0.72), (0.1, 0.72))
WEAVE: Polygon = ((0.55, 0.45), (0.9, 0.42), (0.95, 0.9), (0.52, 0.86))
BARE: Polygon = ((0.08, 0.8), (0.4, 0.8), (0.4, 0.95), (0.08, 0.95))
INK = (40, 30, 90)
DETAIL = (Operation.SMEAR, Operation.RESYNTHESISE, Operation.WARP, Operation.RESAMPLE, Operation.AUTOENCODE)
PRINT = (Operation.GARBLE, Operation.RETYPE, Operation.REBRAND)
EMBEDDED = tuple(operation for operation in Operation if operation is not Operation.AUTOENCODE)


def product(seed: int = 0) -> Pixels:
    """A package front: a word, a mark and a woven panel on a shaded surface with grain."""
    rng = np.random.default_rng(seed)
    page = Image.new("RGB", (4 * SIDE, 4 * SIDE), (205, 190, 150))
    draw = ImageDraw.Draw(page)
    draw.text((2 * SIDE, 0.8 * SIDE), "HARVEST", fill=INK, font=ImageFont.load_default(200), anchor="mm")
    draw.ellipse((0.55 * SIDE, 1.75 * SIDE, 1.55 * SIDE, 2.75 * SIDE), outline=INK, width=60)
    draw.polygon([(SIDE, 2 * SIDE), (1.25 * SIDE, 2.5 * SIDE), (0.75 * SIDE, 2.5 * SIDE)], fill=INK)
    image = cv2.resize(np.asarray(page, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    y, x = np.indices((SIDE, SIDE)) / SIDE
    panel = (x > 0.5) & (y > 0.4)
    weave = np.sin(60 * x + 3 * np.sin(9 * y)) * np.sin(75 * y) * 45
    image[panel] += weave[panel, None] * (1, 0.7, 0.4)
    image = image * (0.8 + 0.3 * x)[..., None] + rng.normal(0, 2, image.shape)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def polygon_of(operation: Operation) -> Polygon:
    match operation:
        case Operation.GARBLE | Operation.RETYPE:
            return TEXT
        case Operation.REBRAND:
            return LOGO
        case _:
            return WEAVE


def request(
    pixels: Pixels,
    operation: Operation,
    polygon: Polygon | None = None,
    strength: float = 0.6,
    edit_id: str = "e",
    **more: Any,
) -> EditRequest:
    instruction = EditInstruction(
        task=operation.task,
        category=Category.OBJECT_DETAIL,
        operation=operation,
        region=polygon or polygon_of(operation),
        sentence="Edit it.",
        subject="the thing",
        place="in the middle",
        **({"text_after": "MORNING"} | more),
    )
    return EditRequest(edit_id, Photo("photo", pixels), instruction, strength, seed=7)


def edited(*requests: EditRequest, weights: Path | None = None) -> list[Pixels]:
    answers = ProceduralEditor(weights).edit(requests)
    for answer in answers:
        assert isinstance(answer, np.ndarray), answer
    return [answer for answer in answers if isinstance(answer, np.ndarray)]


def refusal(*args: Any, **kwargs: Any) -> str:
    (answer,) = ProceduralEditor().edit([request(*args, **kwargs)])
    assert isinstance(answer, Refusal)
    return answer.reason


def within(pixels: Pixels, polygon: Polygon) -> Mask:
    mask = np.zeros(pixels.shape[:2], np.uint8)
    corners = np.array(polygon) * pixels.shape[1::-1] - 0.5
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def psnr(a: Pixels, b: Pixels, mask: Mask) -> float:
    return float(-10 * np.log10(np.mean((a[mask].astype(float) - b[mask]) ** 2) / 255**2))


@pytest.mark.parametrize("operation", EMBEDDED)
def test_an_edit_fills_its_region_and_touches_nothing_else(operation: Operation) -> None:
    target = product()
    kept = target.copy()
    (answer,) = edited(request(target, operation))
    inside = within(target, polygon_of(operation))
    assert answer.shape == target.shape
    assert answer.dtype == np.uint8
    assert np.array_equal(target, kept)
    assert np.array_equal(answer[~inside], target[~inside])
    mask = change_mask(target, answer)
    assert (mask & inside).sum() / (mask | inside).sum() >= 0.6
    assert (mask & ~inside).sum() <= 0.02 * inside.sum()


@pytest.mark.parametrize("operation", EMBEDDED)
def test_the_border_of_a_region_shows_no_seam(operation: Operation) -> None:
    target = product()
    (answer,) = edited(request(target, operation, strength=1.0))
    inside = within(target, polygon_of(operation)).astype(np.uint8)
    rim = (inside - cv2.erode(inside, np.ones((3, 3), np.uint8))).astype(bool)
    jump = np.abs(answer[rim].astype(int) - target[rim]).mean()
    change = np.abs(answer[inside > 0].astype(int) - target[inside > 0]).mean()
    assert jump < 0.35 * change + 1


@pytest.mark.parametrize("operation", EMBEDDED)
def test_the_same_request_gives_the_same_pixels_and_another_edit_others(operation: Operation) -> None:
    target = product()
    first, again = (
        edited(request(target, operation)),
        edited(request(target, operation, edit_id="f"), request(target, operation)),
    )
    assert np.array_equal(first[0], again[1])
    assert not np.array_equal(first[0], again[0])


@pytest.mark.parametrize("operation", EMBEDDED)
def test_strength_grades_the_damage(operation: Operation) -> None:
    target = product()
    inside = within(target, polygon_of(operation))
    likeness = []
    for strength in (0.25, 0.5, 0.75, 1.0):
        answers = edited(*(request(target, operation, strength=strength, edit_id=str(n)) for n in range(8)))
        likeness.append(np.mean([psnr(target, answer, inside) for answer in answers]))
    assert all(weaker > stronger for weaker, stronger in pairwise(likeness)), likeness


@pytest.mark.parametrize("operation", PRINT)
def test_a_print_keeps_its_ink_and_its_surface(operation: Operation) -> None:
    target = product()
    polygon = polygon_of(operation)
    (answer,) = edited(request(target, operation, strength=0.75))
    inside = within(target, polygon)
    before, after = (image[inside].astype(float) for image in (target, answer))
    for quantile, tolerance in ((0.02, 40), (0.9, 12)):  # ink is dark, the surface light
        assert np.abs(np.quantile(before, quantile, axis=0) - np.quantile(after, quantile, axis=0)).max() < tolerance
    dark_before, dark_after = (image.mean(1) < 110 for image in (before, after))
    assert 0.5 < dark_after.sum() / dark_before.sum() < 2
    assert (dark_before & dark_after).sum() / (dark_before | dark_after).sum() < 0.75  # and it says something else


def test_recolour_keeps_texture_and_shading() -> None:
    target = product()
    (answer,) = edited(request(target, Operation.RECOLOUR, strength=0.75))
    core = cv2.erode(within(target, WEAVE).astype(np.uint8), np.ones((31, 31), np.uint8)).astype(bool)
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(float)[core] for image in (target, answer))
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0.9
    assert np.linalg.norm(after.mean(0)[1:] - before.mean(0)[1:]) > 8


@pytest.mark.parametrize("operation", [operation for operation in DETAIL if operation is not Operation.AUTOENCODE])
def test_a_flat_region_has_no_detail_to_lose(operation: Operation) -> None:
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    assert refusal(flat, operation) == "flat-region"


@pytest.mark.parametrize("operation", PRINT)
def test_a_region_with_no_print_is_refused(operation: Operation) -> None:
    assert refusal(product(), operation, BARE) == "no-ink"


def test_what_cannot_be_edited_is_refused_with_its_reason() -> None:
    target = product()
    assert refusal(target, Operation.SMEAR, ((0.5, 0.5), (0.51, 0.5), (0.51, 0.51))) == "region-too-small"
    assert refusal(target, Operation.SMEAR, ((0.1, 0.5), (0.9, 0.5), (0.9, 0.505), (0.1, 0.505))) == "region-too-thin"
    assert refusal(target, Operation.RETYPE, text_after=None) == "no-text"
    assert refusal(target, Operation.AUTOENCODE) == "no-weights"


@pytest.mark.parametrize("operation", EMBEDDED)
def test_a_region_may_be_the_whole_photo_or_lie_at_its_edge(operation: Operation) -> None:
    target = product()
    for polygon in (((0, 0), (1, 0), (1, 1), (0, 1)), ((0.4, 0.3), (1, 0.3), (1, 1), (0.4, 1))):
        (answer,) = ProceduralEditor().edit([request(target, operation, polygon)])
        assert isinstance(answer, np.ndarray | Refusal), answer


def test_one_refused_item_leaves_the_others_answered() -> None:
    target = product()
    answers = ProceduralEditor().edit([request(target, Operation.GARBLE, BARE), request(target, Operation.WARP)])
    assert isinstance(answers[0], Refusal)
    assert isinstance(answers[1], np.ndarray)


def test_autoencoding_changes_the_region_only(tmp_path: Path) -> None:
    target = product()
    weights = random_weights(tmp_path / "random.safetensors")
    (answer,) = edited(request(target, Operation.AUTOENCODE), weights=weights)
    inside = within(target, WEAVE)
    assert np.array_equal(answer[~inside], target[~inside])
    assert not np.array_equal(answer[inside], target[inside])
    (failed,) = ProceduralEditor(tmp_path / "gone.safetensors").edit([request(target, Operation.AUTOENCODE)])
    assert isinstance(failed, EngineFailure)


@pytest.mark.skipif(not PRODUCTS.exists(), reason="NOT TESTED: no real photos here")
def test_edits_of_real_photos_fill_their_regions() -> None:
    regions: dict[str, Polygon] = {
        "berry_bowl/00": ((0.72, 0.51), (0.87, 0.49), (0.92, 0.69), (0.66, 0.79), (0.63, 0.7)),
        "dog/01": ((0.38, 0.2), (0.62, 0.2), (0.66, 0.5), (0.35, 0.5)),
        "monster_toy/01": ((0.45, 0.35), (0.6, 0.35), (0.6, 0.49), (0.45, 0.49)),
    }
    shares, spills = [], []
    for name, polygon in regions.items():
        target = np.asarray(Image.open(PRODUCTS / f"{name}.jpg").convert("RGB"))
        inside = within(target, polygon)
        operations = PRINT if name.startswith("berry") else (*DETAIL[:4], Operation.RECOLOUR, Operation.REPATTERN)
        for answer in edited(*(request(target, operation, polygon) for operation in operations)):
            mask = change_mask(target, answer)
            shares.append((mask & inside).sum() / (mask | inside).sum())
            spills.append((mask & ~inside).sum() / inside.sum())
    assert np.median(shares) >= 0.7
    assert max(spills) <= 0.02
