"""`omnirefiner refine` on a trained-for-a-moment tiny backbone, and all that people get wrong."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flows import cli
from schemas.training import load_training
from tests.training.test_refine import photo, spoilt, spot
from training.backbones.opened import open_backbone
from training.checkpoints import learnt, save_weights

SMALL = ["tiny.width=32", "tiny.depth=1", "tiny.heads=2", "tiny.words=64", "data.size=64", "refine.steps=2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint, a draft, a reference and a mask, to work in."""
    target = photo()
    mask = spot(target)
    Image.fromarray(spoilt(target, mask)).save(tmp_path / "draft.png")
    Image.fromarray(target).save(tmp_path / "reference.jpg")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask[:-1]).save(tmp_path / "small.png")
    Image.fromarray(np.zeros_like(mask)).save(tmp_path / "black.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "draft.png").read_bytes()[:300])
    settings = load_training(SMALL)
    torch.manual_seed(0)
    backbone = open_backbone("tiny", settings)
    torch.nn.init.normal_(backbone.transformer.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    save_weights(tmp_path / "run", backbone, settings, learnt(backbone, {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `omnirefiner refine` as its entry point does, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["omnirefiner", "refine", *arguments, "--instruction", "Restore the pattern."])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_draft_is_refined_within_its_mask_and_written_beside_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("draft.png", "reference.jpg", "--mask", "mask.png", "--checkpoint", "run")
    assert run(monkeypatch, *asked) == 0
    assert capsys.readouterr().out == "draft.refined.png\n"
    draft, mask = np.asarray(Image.open("draft.png")), np.asarray(Image.open("mask.png"))
    refined = np.asarray(Image.open("draft.refined.png"))
    changed = (refined != draft).any(axis=2)
    assert changed[mask].mean() > 0.5
    assert not changed[~spot(draft, 91, 115, 58)].any()

    for name, options in (("same.png", ()), ("other.png", ("--seed", "1")), ("more.png", ("--set", "refine.steps=5"))):
        assert run(monkeypatch, *asked, "--out", name, *options) == 0
        assert np.array_equal(np.asarray(Image.open(name)), refined) == (name == "same.png")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("draft.png reference.jpg", "name the weights, by --checkpoint FOLDER or by --lora FILE, not both"),
        ("draft.png reference.jpg --checkpoint run --lora x", "not both"),
        ("draft.png reference.jpg --checkpoint nowhere", "checkpoint nowhere: it holds no weights.json"),
        ("draft.png reference.jpg --checkpoint run --mask small.png", "it is 320 x 239 px, the draft 320 x 240 px"),
        ("draft.png reference.jpg --checkpoint run --mask black.png", "nothing of it is white"),
        ("cut.png reference.jpg --checkpoint run", "picture cut.png: "),
        ("nowhere.png reference.jpg --checkpoint run", "picture nowhere.png: No such file"),
        ("draft.png run/weights.json --checkpoint run", "picture run/weights.json: it is no image"),
        ("draft.png . --checkpoint run", "picture .: Is a directory"),
        ("draft.png reference.jpg --checkpoint run --out x.jpg", "--out x.jpg: a refined picture is written without"),
        ("draft.png reference.jpg --checkpoint run --out no/x.png", "there is no folder no; make it first"),
        ("draft.png reference.jpg --checkpoint run --set tiny.with=3", "did you mean 'tiny.width'"),
        ("draft.png reference.jpg --lora nowhere --backbone huge", "--backbone huge: no such backbone that takes LoRA"),
        ("draft.png reference.jpg --lora nowhere", "LoRA nowhere: there is no such file"),
        ("draft.png reference.jpg --lora mask.png --set flux_kontext.model=no/thing", "`hf download no/thing`"),
    ],
)
def test_trouble_ends_in_one_line(
    arguments: str, says: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.rglob("*"))
    assert run(monkeypatch, *arguments.split()) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert sorted(here.rglob("*")) == before
