"""Each score means what it says, on real photos and on what the editor makes of them."""

import cv2
import numpy as np
import pytest

from schemas.records import Category, Photo
from tasks import catalog
from tasks.edit import polygon_mask
from tasks.score import edit_scores, photo_scores, text_scores
from tests.conftest import Built
from tests.tasks.engines.scenes import product_photo

MIDDLE = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))
NAMES = ["backpack/00.jpg", "dog/00.jpg", "berry_bowl/00.jpg"]


def blurred(photo: Photo, sigma: float) -> Photo:
    return Photo(f"{photo.image_id}-{sigma}", np.asarray(cv2.GaussianBlur(photo.pixels, (0, 0), sigma), np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_blur_is_told_of_the_photo_that_has_it(name: str) -> None:
    sharp = product_photo(name)
    soft = blurred(sharp, 3)
    scores = photo_scores(soft, sharp)
    assert scores["sharpness"] < scores["reference_sharpness"] - 0.2
    dim = Photo(f"{name}-dim", (sharp.pixels * 0.5).astype(np.uint8))
    assert photo_scores(dim, sharp)["exposure"] < photo_scores(sharp, sharp)["exposure"] - 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_edit_is_less_alike(name: str) -> None:
    target = product_photo(name)
    mask = polygon_mask(MIDDLE, *target.pixels.shape[1::-1])
    found = []
    for sigma in (1, 3, 9):
        input = np.where(mask[..., None], blurred(target, sigma).pixels, target.pixels)
        found.append(edit_scores(target, input, input, mask))
    for score in ("ssim", "likeness"):
        values = [one[score] for one in found]
        assert values == sorted(values, reverse=True), score
        assert 0 <= values[-1] < values[0] <= 1
    assert [(one["shift"], one["drift"], one["residue"]) for one in found] == [(0, 0, 0)] * 3


@pytest.mark.parametrize("name", NAMES)
def test_what_the_alignment_left_over_is_told_and_what_it_undid(name: str) -> None:
    target = product_photo(name)
    mask = polygon_mask(MIDDLE, *target.pixels.shape[1::-1])
    inside = np.where(mask[..., None], 255 - target.pixels, target.pixels)
    shifted = np.asarray(np.roll(inside, 3, axis=1), np.uint8)
    found = edit_scores(target, inside, shifted, mask)
    assert found["shift"] == pytest.approx(3, abs=0.1)
    assert found["residue"] < 2
    height, width = mask.shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [amount * np.sin(rows / 9).astype(np.float32) for amount in (1, 3)]
    bent = [np.asarray(cv2.remap(inside, columns + wave, rows, cv2.INTER_LINEAR), np.uint8) for wave in waves]
    residues = [edit_scores(target, inside, one, mask)["residue"] for one in bent]
    assert found["residue"] < residues[0] < residues[1]


def test_a_text_that_changed_is_told() -> None:
    pixels = np.full((256, 256, 3), 235, np.uint8)
    cv2.putText(pixels, "COFFEE", (40, 180), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    mask = np.zeros((256, 256), bool)
    mask[150:190, 35:200] = True
    target, gone = Photo("score-text", pixels), np.where(mask[..., None], 235, pixels).astype(np.uint8)
    assert text_scores(target, pixels, mask, Category.TEXT)["text_distance"] == 0
    assert text_scores(target, gone, mask, Category.TEXT) == {
        "text_before": "COFFEE", "text_after": "", "text_distance": 1,
    }  # fmt: skip
    bare = Photo("score-bare", np.full_like(pixels, 235))
    assert text_scores(bare, gone, mask, Category.TEXT)["text_distance"] is None
    assert text_scores(bare, gone, mask, Category.FACE) == {}


def test_every_sample_of_a_lake_is_scored_and_scores_without_weights_are_null(scored: Built) -> None:
    with catalog.read(scored.lake) as connection:
        (row,) = catalog.rows(
            connection,
            """SELECT count(*) AS samples, count(sharpness) AS sharp, count(reference_overlap) AS shown,
                      count(lpips) + count(clip) + count(dino) + count(unsafe) AS without_weights,
                      min(reference_overlap) AS least, min(resolution) AS px,
                      count(*) FILTER (residue > 0.01 OR shift > 0) AS off,
                      corr(likeness, psnr) AS together FROM samples""",
        )
        read = catalog.rows(connection, "SELECT DISTINCT category FROM samples WHERE text_before <> ''")
    assert row["samples"] == row["sharp"] == row["shown"] == scored.summary.funnel.quadruplets
    assert row["without_weights"] == row["off"] == 0  # the procedural editor moves nothing
    assert row["least"] > 0.3
    assert 200 <= row["px"] <= 320
    assert row["together"] > 0.2
    assert {"category": "text"} in read
