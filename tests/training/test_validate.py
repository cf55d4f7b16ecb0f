"""What has learnt is tried on what is held out: drafts beside what became of them."""

import pytest
import torch
from torch import Tensor

from schemas.training import load_training
from tasks.lake import Lake
from training.dataset import Batch, Split, open_split
from training.shown import pictures
from training.validate import Draft, validate

SMALL = [
    "data.size=64", "data.crop=whole", "data.reference=whole", "data.workers=0", "validation.batch=4",
    "validation.samples=14",
]  # fmt: skip
SETTINGS = load_training(SMALL, "tiny")


@pytest.fixture(scope="module")
def split(small: Lake) -> Split:
    return open_split(small.root, "v1", "train")


def restored(batch: Batch) -> Tensor:
    """Refine to the target."""
    return pictures(batch.target, torch.device("cpu"))


def left_alone(batch: Batch) -> Tensor:
    """Refine nothing."""
    return pictures(batch.input, torch.device("cpu"))


def test_figures_are_those_of_refined_and_draft(split: Split) -> None:
    found = validate(left_alone, SETTINGS, split)
    assert len(found.samples) == 14
    masked = [one.figures for one in found.samples if "psnr" in one.figures]
    assert 0 < len(masked) < 14  # some masks are empty
    assert all(one["psnr"] == one["psnr_input"] and one["gain"] == 0 for one in masked)
    assert all(one["likeness"] == one["likeness_input"] for one in masked)
    assert min(one["likeness"] for one in masked) < 0.99
    better = [one.figures for one in validate(restored, SETTINGS, split).samples if "psnr" in one.figures]
    assert all(one["gain"] >= 0 and one["likeness"] == pytest.approx(1, abs=1e-5) for one in better)
    assert sum(one["gain"] > 1 for one in better) > len(better) / 2
    assert [one["psnr_input"] for one in better] == [one["psnr_input"] for one in masked]


def test_drafts_are_measured_once_and_come_out_the_same(split: Split) -> None:
    asked: list[Tensor] = []

    def score(refined: Tensor, batch: Batch) -> dict[str, Tensor]:
        asked.append(refined)
        return {"reward": refined.mean(dim=(1, 2, 3))}

    drafts: dict[str, Draft] = {}
    first = validate(left_alone, SETTINGS, split, score, drafts)
    batches = len(asked) / 2  # refined and draft of each
    assert drafts.keys() >= {one.key for one in first.samples}
    again = validate(restored, SETTINGS, split, score, drafts)
    assert len(asked) == 3 * batches
    afresh = validate(restored, SETTINGS, split, score)
    assert again.figures == afresh.figures
    assert [(one.key, one.figures) for one in again.samples] == [(one.key, one.figures) for one in afresh.samples]
