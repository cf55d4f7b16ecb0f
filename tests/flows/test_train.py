"""`omnirefiner train` as its entry point runs it: from a version to a sharpened refiner, and what people get wrong."""

import json
import sys
from pathlib import Path

import pytest

from flows import cli
from tasks.lake import Lake
from tests.training.conftest import made
from training.journal import read_metrics

SMALL = (
    "data.size=64", "data.reference=whole", "data.workers=0", "data.batch=4", "tiny.width=32", "tiny.depth=1",
    "tiny.heads=2", "sft.steps=2", "checkpoints.every=2",
)  # fmt: skip
SHORT = ("grpo.steps=2", "grpo.group=2", "grpo.prompts=2")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return made(tmp_path_factory.mktemp("lake") / "lake", 12)


def run(monkeypatch: pytest.MonkeyPatch, lake: Lake, *arguments: str, settings: tuple[str, ...] = ()) -> int:
    """Run `omnirefiner train ...` on a version 'v1', nothing being held out, and return its exit code."""
    command = ["train", *arguments, "--lake", str(lake.root)]
    for option, value in (("--version", "v1"), ("--held-out", "none")):
        command += [] if option in arguments else [option, value]
    monkeypatch.setattr(sys, "argv", ["omnirefiner", *command, *(part for one in settings for part in ("--set", one))])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_refiner_is_fine_tuned_then_sharpened(
    small: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sft, grpo, other = (str(tmp_path / name) for name in ("sft", "grpo", "other"))
    assert run(monkeypatch, small, "sft", "--out", sft, settings=SMALL) == 0
    assert "refine with --checkpoint" in capsys.readouterr().out
    start = f"{sft}/checkpoints/000002"
    assert run(monkeypatch, small, "grpo", "--from", start, "--out", grpo, "--json", settings=SHORT) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    told = json.loads((Path(grpo) / "run.json").read_text())
    assert (told["backbone"], told["settings"]["grpo"]["steps"], told["settings"]["data"]["batch"]) == ("tiny", 2, 2)
    assert told["settings"]["tiny"]["width"] == 32  # the checkpoint's own
    assert [line["step"] for line in read_metrics(Path(grpo))] == [1, 2]
    # what SFT does not go by makes no other run of it
    assert run(monkeypatch, small, "sft", "--out", sft, settings=(*SMALL, "grpo.rate=0.5", "reward.least=32")) == 0
    assert run(monkeypatch, small, "sft", "--out", sft, settings=(*SMALL, "sft.rate=0.5")) == 2
    assert "begun with another sft.rate" in capsys.readouterr().err
    # again it has nothing to do; from what was sharpened, it is another run
    assert run(monkeypatch, small, "grpo", "--from", start, "--out", grpo, settings=SHORT) == 0
    assert run(monkeypatch, small, "grpo", "--from", f"{grpo}/checkpoints/000002", "--out", grpo, settings=SHORT) != 0
    assert "it was begun with another start" in capsys.readouterr().err
    assert run(monkeypatch, small, "grpo", "--from", f"{grpo}/checkpoints/000002", "--out", other, settings=SHORT) == 0


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("sft", "--version", "v9"), SMALL, "version 'v9'"),
        (("sft", "--backbone", "huge"), SMALL, "no such backbone; there are: tiny"),
        (("sft", "--held-out", "train"), SMALL, "that is what is trained on"),
        (("sft", "--held-out", "validation"), SMALL, "no samples of split group 'validation'"),
        (("sft",), ("sft.stepz=3",), "did you mean 'sft.steps'?"),
        (("grpo", "--from", "nowhere"), SHORT, "checkpoint nowhere: it holds no weights.json"),
        (("grpo", "--from", "broken"), SHORT, "checkpoint broken: weights.json"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_line(
    arguments: tuple[str, ...], settings: tuple[str, ...], said: str, small: Lake, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "weights.json").write_text('{"format": 1, "backbone": "other"}')
    assert run(monkeypatch, small, *arguments, settings=settings) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_dreamsim_without_its_weights_says_what_to_fetch_before_any_work(
    small: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, small, "sft", "--out", "sft", settings=SMALL) == 0
    start = ("grpo", "--from", "sft/checkpoints/000002", "--out", "grpo")
    named = (*SHORT, "reward.likeness=dreamsim", f"reward.dreamsim={tmp_path}")
    assert run(monkeypatch, small, *start, settings=named) == 2
    assert "pip install dreamsim" in capsys.readouterr().err
    assert not (tmp_path / "grpo").exists()
