"""`omnirefiner train` as its entry point runs it: from a version to a sharpened refiner, and what people get wrong."""

import json
import resource
import subprocess
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
    assert run(monkeypatch, small, "sft", "--out", sft, settings=(*SMALL, "grpo.rate=0.5", "reward.least=[32,32]")) == 0
    assert run(monkeypatch, small, "sft", "--out", sft, settings=(*SMALL, "sft.rate=0.5")) == 2
    assert "begun with another sft.rate" in capsys.readouterr().err
    # a setting that has come since it began does what was done before
    del told["settings"]["grpo"]["updates"]
    (Path(grpo) / "run.json").write_text(json.dumps(told))
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


def test_a_full_disk_costs_no_more_than_what_was_learnt_since(small: Lake, tmp_path: Path) -> None:
    run_folder = tmp_path / "sft"
    command = [sys.executable, "-m", "flows.cli", "train", "sft", "--version", "v1", "--lake", str(small.root)]
    command += ["--held-out", "none", "--out", str(run_folder), "--set", "checkpoints.every=1"]
    command += [part for one in (*SMALL, "data.workers=0", "sft.decay=constant") for part in ("--set", one)]

    def ended(steps: int, most: int) -> subprocess.CompletedProcess[str]:
        """Run it where no file can grow beyond so many bytes."""
        return subprocess.run(
            [*command, "--set", f"sft.steps={steps}"], check=False, capture_output=True, text=True, timeout=300,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )  # fmt: skip

    assert ended(1, resource.RLIM_INFINITY).returncode == 0
    failed = ended(3, 300_000)  # the weights are larger
    assert failed.returncode == 2
    last = failed.stderr.strip().splitlines()[-1]
    assert "000002: it cannot be written (" in last
    assert "it goes on from the checkpoint before" in last
    assert [path.name for path in (run_folder / "checkpoints").iterdir()] == ["000001"]
    assert ended(3, resource.RLIM_INFINITY).returncode == 0
    assert [line["step"] for line in read_metrics(run_folder)] == [1, 2, 3]


def test_shards_damaged_between_two_starts_are_told_or_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = made(tmp_path / "lake", 12), str(tmp_path / "sft")
    settings = (*SMALL[:-2], "sft.decay=constant", "checkpoints.every=2")
    assert run(monkeypatch, own, "sft", "--out", out, settings=(*settings, "sft.steps=2")) == 0
    shard = max(own.root.rglob("*.tar"), key=lambda path: path.stat().st_size)
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    strict = (*settings, "sft.steps=6", "data.most_damaged=0")
    assert run(monkeypatch, own, "sft", "--out", out, settings=strict) == 2
    assert "data.most_damaged allows 0" in capsys.readouterr().err
    assert (Path(out) / "checkpoints" / "000002").exists()
    assert run(monkeypatch, own, "sft", "--out", out, settings=(*settings, "sft.steps=6")) == 0
    told = read_metrics(Path(out))
    assert [line["step"] for line in told] == [1, 2, 3, 4, 5, 6]
    assert told[1]["substitutes"] == 0 < told[-1]["substitutes"]
