"""`train demo` and `train ablate`: refiners trained in processes of their own, and compared product by product."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows import cli
from flows.ablations import GRPO, SFT, ablate
from flows.build import build
from flows.train_demo import Run, run_all, train_and_compare
from flows.train_demo import built as settings_of
from schemas.errors import TrainingError
from schemas.training import load_training
from tests.conftest import SMALL
from training.kept import newest

SHORT = (
    "data.size=64", "data.batch=4", "data.workers=0", "data.reference=whole", "tiny.width=32", "tiny.depth=1",
    "tiny.heads=2", "sft.steps=3", "validation.samples=8",
)  # fmt: skip
SHARP = ("grpo.steps=2", "grpo.prompts=2", "grpo.group=2", "validation.samples=8")


@pytest.fixture(scope="module")
def folder(rendered: Path, prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `train demo` makes it, of small photos."""
    place = tmp_path_factory.mktemp("demo")
    build(str(rendered), str(place / "lake"), assignments=[*SMALL, *settings_of(rendered=True)], version="demo")
    return place


def test_refiners_are_trained_compared_and_taken_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = train_and_compare(folder / "lake", "demo", folder / "runs", 1, 2, SHORT, SHARP)
    assert found.keys() == {"all", "gross", "slight"}
    for one in found.values():
        assert one.each.keys() == {"input", "paste", "blind", "sft", "grpo"}
        assert one.better.keys() == {"sft - input", "sft - blind", "sft - paste", "grpo - sft"}
        assert {"psnr", "likeness", "background", "reward"} <= one.each["grpo"].keys()
    assert found["all"].products >= found["gross"].products > 0
    assert found["all"].samples == found["gross"].samples + found["slight"].samples
    told = json.loads((folder / "runs" / "comparison.json").read_text())
    assert told["gross"]["products"] == found["gross"].products
    assert (folder / "runs" / "comparison.html").exists()
    trained = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("weights.safetensors")}
    settings = [
        *(part for one in SHORT for part in ("--sft", one)),
        *(part for one in SHARP for part in ("--grpo", one)),
    ]
    monkeypatch.setattr("sys.argv", ["omnirefiner", "train", "demo", "--out", str(folder), "--seeds", "1", *settings])
    with pytest.raises(SystemExit) as ended:
        cli.main()  # what is built and trained is there
    assert not ended.value.code
    said = capsys.readouterr().out
    assert json.loads((folder / "runs" / "comparison.json").read_text()) == told
    assert f"input under 22 dB: {told['gross']['samples']} samples of {told['gross']['products']} products" in said
    assert "version 'demo' is published, no photos are looked at" in said
    assert not (folder / "photos").exists()
    assert {path: path.stat().st_mtime_ns for path in trained} == trained  # nothing was trained anew

    monkeypatch.setattr("flows.ablations.GRPO", {"none": ("grpo.rate=1e-30",), "all": ("grpo.credit=sample",)})
    gains = ablate(folder, 0, 2, SHORT, SHARP)
    exchanged = {f"{name}, references exchanged" for name in ("SFT", "GRPO")}
    figures = {"psnr", "gain", "likeness", "background", "reward", "reward_embedder", "reward_pixels"}
    assert gains.keys() == {"all", "gross", "slight"}
    for rows in gains.values():
        assert rows.keys() == {*SFT, "GRPO", "none", "all", *exchanged}
        assert all(found.keys() == figures for found in rows.values())
        assert all(abs(one.mean or 0) < 1e-6 for one in rows["none"].values())  # measured as SFT was
        assert rows["SFT, references exchanged"]["psnr"].mean != 0
    kept = json.loads((folder / "runs" / "ablations.json").read_text())["better than SFT by"]
    assert {part: rows.keys() for part, rows in kept.items()} == {part: rows.keys() for part, rows in gains.items()}


@pytest.mark.parametrize("changed", [*SFT.values(), *GRPO.values()], ids=[*SFT, *GRPO])
def test_each_ablation_changes_every_setting_that_it_names(changed: tuple[str, ...]) -> None:
    for left_out in range(len(changed)):
        rest = [one for number, one in enumerate(changed) if number != left_out]
        assert load_training(changed, "tiny") != load_training(rest, "tiny")


def test_what_fails_is_told_with_its_run_and_its_reason(folder: Path) -> None:
    with pytest.raises(TrainingError, match="it has no refiners of seed 5; `omnirefiner train demo"):
        ablate(folder, 5, 1, (), ())
    with pytest.raises(TrainingError, match=r"^run \S*(sft|blind)-0: at step .*begin another run with a lower rate"):
        train_and_compare(folder / "lake", "demo", folder / "wild", 1, 1, (*SHORT, "sft.rate=1e30"), SHARP)


def test_one_that_fails_ends_the_others(folder: Path) -> None:
    wild = Run(folder / "ended" / "wild", 0, (*SHORT, "sft.rate=1e30"))
    patient, queued = (Run(folder / "ended" / name, 0, (*SHORT, "sft.steps=3000")) for name in ("patient", "queued"))
    with pytest.raises(TrainingError, match=r"^run \S*wild: "):
        run_all(folder / "lake", "demo", [patient, wild, queued], 2)
    found = newest(patient.folder)
    assert found is None or found.step < 3000
    assert not queued.folder.exists()


def test_an_interruption_ends_them(folder: Path) -> None:
    run = Run(folder / "interrupted", 0, (*SHORT, "sft.steps=3000"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # commands of other tests leave theirs
    try:
        with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as pool:
            pool.submit(_interrupt_once_there_is, run.folder)
            run_all(folder / "lake", "demo", [run], 1)
    finally:
        signal.signal(signal.SIGINT, before)
    found = newest(run.folder)
    assert found is None or found.step < 3000


def _interrupt_once_there_is(run: Path) -> None:
    while not run.exists():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
