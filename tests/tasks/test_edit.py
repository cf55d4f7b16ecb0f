import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from schemas.ids import stream
from schemas.records import Category, EditInstruction, Operation, Pixels, Polygon
from schemas.settings import Edit, Settings
from tasks import edit as stage
from tasks.codecs import encode_webp, load_mask, load_photo
from tasks.edit import edit, polygon_mask
from tasks.engines.editor import EditRequest
from tasks.lake import Lake, create_lake
from tasks.ledger import Row

REGION: Polygon = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
PHOTO = stream(0, "photo").integers(60, 200, (128, 128, 3), dtype=np.uint8)


class Painted:
    """An editor that answers with given pixels."""

    def __init__(self, answer: Pixels) -> None:
        self.answer = answer

    def edit(self, requests: list[EditRequest]) -> list[Pixels]:
        return [self.answer for _ in requests]


def outcome(lake: Lake, answer: Pixels, monkeypatch: pytest.MonkeyPatch, photo: Pixels = PHOTO, **options: Any) -> Row:
    """Return the row of an edit of `photo` that an editor answered in this way."""
    monkeypatch.setattr(stage, "load_editor", lambda _settings, _memory: Painted(answer))
    instruction = EditInstruction(
        task=Operation.SMEAR.task, category=Category.PATTERN, operation=Operation.SMEAR, region=REGION,
        sentence="Smear the pattern.", subject="the pattern", place="in the middle",
    )  # fmt: skip
    item = {"item_id": "e", "target_id": "t", "target_sha256": lake.put_artifact(encode_webp(photo), "webp"),
            "instruction": json.dumps(instruction.content())}  # fmt: skip
    (row,) = edit(lake, Settings(edit=Edit(feather=3, **options)), [item])
    return row


def changed(rows: slice, columns: slice, photo: Pixels = PHOTO) -> Pixels:
    pixels = photo.copy()
    pixels[rows, columns] = 255 - pixels[rows, columns]
    return pixels


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return create_lake(tmp_path / "lake")


def test_an_edit_in_its_region_is_pasted_back(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = changed(slice(34, 94), slice(34, 94))
    row = outcome(lake, raw, monkeypatch)
    assert row["status"] == "answered"
    assert np.array_equal(load_photo(lake, row["raw_sha256"]), raw)
    input, mask = load_photo(lake, row["input_sha256"]), load_mask(lake, row["mask_sha256"])
    assert np.array_equal(input[~mask], PHOTO[~mask])
    assert np.array_equal(input[40:88, 40:88], raw[40:88, 40:88])
    assert row["mask_area"] == pytest.approx(mask.mean())
    assert row["filled"] > 0.8
    assert row["outside"] < 0.1


def test_what_a_generator_changed_elsewhere_is_left_to_the_target(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = changed(slice(34, 94), slice(34, 94))
    raw[112:124, 100:128] = 255 - raw[112:124, 100:128]
    row = outcome(lake, raw, monkeypatch)
    assert 0.05 < row["outside"] < 0.25
    assert np.array_equal(load_photo(lake, row["input_sha256"])[108:], PHOTO[108:])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (PHOTO, "unchanged"),
        (255 - PHOTO, "repainted"),
        (changed(slice(0, 30), slice(0, 128)), "misplaced"),
        (changed(slice(50, 60), slice(50, 60)), "too-little"),
        (PHOTO[:64], "wrong-size"),
        (np.zeros_like(PHOTO), "black"),
    ],
)
def test_an_edit_that_did_not_do_what_was_asked_is_refused_and_kept(
    lake: Lake, raw: Pixels, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = outcome(lake, raw, monkeypatch)
    assert (row["status"], row["reason"]) == ("refused", reason)
    assert np.array_equal(load_photo(lake, row["raw_sha256"]), raw)


SMOOTH = np.asarray(cv2.GaussianBlur(PHOTO, (0, 0), 1.5), np.uint8)


def test_an_edit_that_is_off_is_brought_back_and_how_far_is_on_record(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = np.roll(changed(slice(34, 94), slice(34, 94), SMOOTH), (1, -2), (0, 1))
    raw = (raw * 0.9).astype(np.uint8)
    row = outcome(lake, raw, monkeypatch, SMOOTH)
    assert row["status"] == "answered"
    assert (row["shift_x"], row["shift_y"]) == (pytest.approx(-2, abs=0.1), pytest.approx(1, abs=0.1))
    assert row["drift"] > 5
    assert row["outside"] < 0.1
    assert np.array_equal(load_photo(lake, row["raw_sha256"]), raw)
    mask = load_mask(lake, row["mask_sha256"])
    assert np.array_equal(load_photo(lake, row["input_sha256"])[~mask], SMOOTH[~mask])


def test_an_edit_beyond_repair_is_refused_with_its_figures(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.roll(changed(slice(34, 94), slice(34, 94), SMOOTH), 12, 1)
    row = outcome(lake, raw, monkeypatch, SMOOTH)
    assert (row["status"], row["reason"]) == ("refused", "shifted")
    assert row["shift_x"] == pytest.approx(12, abs=0.1)
    assert json.loads(row["evidence"])["shift"] == pytest.approx(12, abs=0.1)
    assert np.array_equal(load_photo(lake, row["raw_sha256"]), raw)


def test_an_edit_that_is_not_off_is_used_as_it_is(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    row = outcome(lake, changed(slice(34, 94), slice(34, 94)), monkeypatch)
    assert (row["shift_x"], row["shift_y"], row["drift"]) == (0, 0, 0)


def test_an_edit_in_another_size_is_brought_to_the_targets(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.asarray(cv2.resize(changed(slice(34, 94), slice(34, 94), SMOOTH), (256, 256)), np.uint8)
    row = outcome(lake, raw, monkeypatch, SMOOTH)
    assert row["status"] == "answered"
    assert load_photo(lake, row["raw_sha256"]).shape == (256, 256, 3)
    assert load_photo(lake, row["input_sha256"]).shape == SMOOTH.shape


def test_an_edit_need_not_be_pasted_back(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = changed(slice(34, 94), slice(34, 94))
    raw[112:124, 100:128] = 255 - raw[112:124, 100:128]
    row = outcome(lake, raw, monkeypatch, paste_back=False)
    assert row["input_sha256"] == row["raw_sha256"]
    mask = load_mask(lake, row["mask_sha256"])
    assert mask[40:88, 40:88].all()
    assert mask[114:122, 102:126].all()
    assert not mask[:30].any()


def test_a_polygon_covers_its_share() -> None:
    assert polygon_mask(REGION, 200, 100).mean() == pytest.approx(0.25, abs=0.02)
