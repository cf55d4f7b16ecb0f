"""Fine-tuning: it goes on as if it had not stopped, whoever shares the work, and keeps what was good."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
import torch
from safetensors.torch import load_file

from schemas.errors import TrainingError
from schemas.training import Tiny, Training, load_training
from tasks.lake import Lake
from tests.tasks.engines.tiny_pipelines import flux_kontext
from tests.training.conftest import made, processes
from training import kept
from training.backbones import Text
from training.backbones.opened import open_backbone
from training.backbones.tiny import TinyBackbone
from training.cached import Cache
from training.checkpoints import load_weights
from training.dataset import Split, State, batches, open_split
from training.journal import read_metrics
from training.loop import Done, scheduled
from training.seeds import seeded
from training.sft import losses, train

SMALL = [
    "data.size=64", "data.crop=whole", "data.jitter=false", "data.batch=4", "data.reference=whole", "data.workers=0",
    "tiny.width=32", "tiny.depth=1", "tiny.heads=2", "sft.steps=4", "sft.at_once=4", "sft.warmup=2",
    "validation.every=4", "validation.samples=3", "checkpoints.every=2", "refine.steps=2",
]  # fmt: skip


def settings(*more: str) -> Training:
    return load_training([*SMALL, *more], "tiny")


def trained(run: Path, split: Split, told: Training, held_out: Split | None = None) -> Done:
    seeded(told.seed)
    return train(run, open_backbone("tiny", told), told, split, held_out)


@pytest.fixture(scope="module")
def split(small: Lake) -> Split:
    return open_split(small.root, "v1", "train")


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run / "checkpoints" / f"{step:06d}" / "learning.safetensors")
    return found


def told_of(run: Path, name: str) -> list[Any]:
    return [line[name] for line in read_metrics(run) if name in line]


def losses_of(run: Path) -> list[float]:
    return told_of(run, "loss")


def test_a_run_leaves_weights_metrics_pictures_and_curves(split: Split, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = trained(run, split, settings(), held_out=split)
    assert done.steps == 4
    assert {"psnr", "psnr_input", "gain", "likeness", "background"} <= done.figures.keys()
    assert [line["step"] for line in read_metrics(run)] == [1, 2, 3, 4, 4]
    assert (run / "pictures" / "000004.png").stat().st_size > 1000
    assert len((run / "pictures" / "000004.jsonl").read_text().splitlines()) == 3
    assert "masked PSNR" in (run / "curves.html").read_text()
    assert list((run / "events").iterdir())
    backbone, told = load_weights(run / "checkpoints" / "000004")
    assert (backbone.name, told.sft.steps) == ("tiny", 4)


@pytest.mark.parametrize("more", [(), ("sft.ema=0.9", "sft.decay=cosine"), ("sft.relative=0", "blind=true")])
def test_a_run_that_stops_goes_on_to_the_same_bits(more: tuple[str, ...], split: Split, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    told = settings(*more)
    trained(whole, split, told)
    half = told.model_copy(update={"sft": told.sft.model_copy(update={"steps": 2})})
    if told.sft.decay == "constant":  # a cosine knows its end
        trained(halves, split, half)
    else:
        trained(halves, split, told)
        for path in (halves / "checkpoints" / "000004").iterdir():
            path.unlink()
    trained(halves, split, told)
    for name in ("learning", "optimizer", "weights", *(["mean"] if told.sft.ema else [])):
        one, other = (load_file(run / "checkpoints" / "000004" / f"{name}.safetensors") for run in (whole, halves))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert losses_of(whole) == losses_of(halves)


def test_a_batch_in_parts_has_the_same_gradient(split: Split, tmp_path: Path) -> None:
    trained(tmp_path / "one", split, settings())
    trained(tmp_path / "parts", split, settings("sft.at_once=1"))
    for name in ("loss", "norm"):  # Adam does not see how large a gradient is
        assert told_of(tmp_path / "parts", name) == pytest.approx(told_of(tmp_path / "one", name), rel=1e-3)


def test_a_sample_may_be_weighed_by_how_far_off_its_draft_is(split: Split) -> None:
    told = settings("sft.relative=0", "sft.loss=latent")
    backbone = open_backbone("tiny", told)
    batch = next(iter(batches(split, told.data, 0)))
    plain = losses(backbone, told, batch, 0)  # untrained, it answers with the draft: its loss is the draft's own error
    weighed = losses(backbone, settings("sft.relative=0.01", "sft.loss=latent"), batch, 0)
    assert torch.allclose(weighed, plain * 0.01 / (0.01 + plain), rtol=1e-3)


def test_a_loss_in_pixels_may_keep_less_and_compute_it_anew(split: Split) -> None:
    batch = next(iter(batches(split, settings().data, 0)))
    found = []
    for anew in ("false", "true"):
        told = settings("sft.loss=pixel", f"sft.checkpointing={anew}")
        seeded(0)
        backbone = open_backbone("tiny", told)
        losses(backbone, told, batch, 0).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        found.append([weight.grad for weight in backbone.transformer.parameters() if weight.grad is not None])
    assert len(found[0]) > 5
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_a_loss_in_pixels_is_that_of_the_pictures_and_teaches(split: Split, tmp_path: Path) -> None:
    told = settings("sft.loss=pixel", "sft.relative=0", "sft.mask=true")
    backbone = open_backbone("tiny", told)
    batch = next(iter(batches(split, told.data, 0)))
    input, target = (one.double().numpy() / 255 for one in (batch.input, batch.target))
    mask = batch.mask.numpy()
    error = ((input - target) ** 2).mean(axis=1, keepdims=True)  # untrained, it answers with the draft
    wanted = [
        (each * ~where).mean() + (each[where].mean() if where.any() else 0)
        for each, where in zip(error, mask, strict=True)
    ]
    assert losses(backbone, told, batch, 0).tolist() == pytest.approx(wanted, rel=1e-4)
    more = ("sft.loss=pixel", "sft.steps=20", "sft.rate=3e-3", "validation.every=20", "checkpoints.every=20")
    trained(tmp_path / "run", split, settings(*more))
    told_losses = losses_of(tmp_path / "run")
    assert sum(told_losses[-5:]) < 0.9 * sum(told_losses[:5])


def test_latents_from_disk_are_those_of_the_encoder(split: Split, tmp_path: Path) -> None:
    told = settings("sft.cache=true", "sft.steps=12")
    trained(tmp_path / "run", split, told)
    trained(tmp_path / "plain", split, settings("sft.steps=12"))
    # but for how their numbers lie in memory, and in what order they are summed
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(tmp_path / "plain"), rel=1e-5)
    backbone = open_backbone("tiny", told)
    asked: list[int] = []
    backbone.encode = lambda pictures: asked.append(len(pictures))  # type: ignore[assignment, return-value]
    cache = Cache(tmp_path / "run" / "cache", backbone)
    for batch in islice(batches(split, told.data, told.seed, State(1, 0)), 3):  # another epoch
        cache.encode(batch.target.float() / 255)
        del batch
    assert len(asked) <= 4  # an epoch leaves out less than a batch


def test_prompts_of_several_lengths_are_cached_as_rows(tmp_path: Path) -> None:
    class Reader(TinyBackbone):
        def prompt(self, instructions: Sequence[str], pictures: Sequence[torch.Tensor] = ()) -> Text:
            (one,) = instructions
            return Text(torch.full((1, len(one), 2), float(len(one))), seen=torch.ones(1, len(one), dtype=torch.bool))

    for _ in range(2):
        text = Cache(tmp_path, Reader(Tiny())).prompt(["ab", "abcd"], [])
        assert text.tokens[:, :, 0].tolist() == [[2, 2, 0, 0], [4, 4, 4, 4]]
        assert text.seen is not None
        assert text.seen.tolist() == [[True, True, False, False], [True] * 4]


def together(lake: Lake, run: Path, told: Sequence[str], backbone: str = "tiny", held_out: str = "validation") -> str:
    """Train in two processes, and return what they print."""
    command = [*processes(2), "train", "sft", "--version", "v1", "--lake", str(lake.root), "--backbone", backbone]
    assigned = [part for one in told for part in ("--set", one)]
    launched = subprocess.run(
        [*command, "--held-out", held_out, "--out", str(run), "--json", *assigned],
        check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr[-2000:]
    return launched.stdout


@pytest.mark.parametrize(
    "how",
    [("sft.at_once=1",), ("sft.sharded=true", "sft.at_once=1", "sft.ema=0.9"), ("sft.sharded=true", "sft.lora=4")],
    ids=["whole", "shared", "shared-lora"],
)
def test_two_processes_learn_what_one_does(how: tuple[str, ...], tmp_path: Path) -> None:
    lake, told = made(tmp_path / "lake", 44, held_out=5), ("sft.decay=constant", *how)
    split, held_out = (open_split(lake.root, "v1", group) for group in ("train", "validation"))
    one, two = tmp_path / "one", tmp_path / "two"
    trained(one, split, settings(*told), held_out)
    printed = together(lake, two, (*SMALL, *told))
    for name in ("loss", "norm"):
        assert told_of(two, name) == pytest.approx(told_of(one, name), rel=1e-3)
    (tried,), (alone,) = (told_of(run, "validation") for run in (two, one))
    assert tried == pytest.approx(alone, rel=1e-3)
    assert len(printed.splitlines()) == 1  # one process speaks
    # one process goes on where two stopped, and two where one did
    more, most = (settings(f"sft.steps={steps}", *told) for steps in (6, 8))
    trained(two, split, more)
    trained(one, split, most)
    together(lake, two, (*SMALL, *told, "sft.steps=8"))
    assert losses_of(two) == pytest.approx(losses_of(one), rel=1e-3)
    found, wanted = (weights(run, 8) for run in (two, one))
    assert all(torch.allclose(found[name], wanted[name], atol=1e-3) for name in wanted)


def test_two_processes_share_a_model_in_bfloat16_out_whose_lora_learns_in_float32(tmp_path: Path) -> None:
    lake, model = made(tmp_path / "lake", 8), flux_kontext(tmp_path / "kontext")
    told = [
        *(one for one in SMALL if not one.startswith("tiny.")),
        *("sft.steps=2", f"flux_kontext.model={model}", "sft.lora=2", "sft.sharded=true", "sft.precision=no"),
    ]
    alone = load_training(told, "flux_kontext")
    seeded(alone.seed)
    split = open_split(lake.root, "v1", "train")
    train(tmp_path / "one", open_backbone("flux_kontext", alone), alone, split, None)
    together(lake, tmp_path / "two", told, "flux_kontext", held_out="none")
    for name in ("loss", "norm"):
        assert told_of(tmp_path / "two", name) == pytest.approx(told_of(tmp_path / "one", name), rel=2e-2)


def test_a_process_that_dies_ends_the_run_and_it_goes_on_from_its_last_checkpoint(
    small: Lake, split: Split, tmp_path: Path
) -> None:
    run, constant = tmp_path / "run", "sft.decay=constant"
    command = ["train", "sft", "--version", "v1", "--lake", str(small.root), "--held-out", "none", "--out", str(run)]
    many = [part for one in (*SMALL, constant, "sft.steps=5000", "checkpoints.every=1") for part in ("--set", one)]
    with (tmp_path / "said").open("w+") as said:
        launched = subprocess.Popen(
            [*processes(2), *command, *many], stdout=said, stderr=said, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        ends, ranks = time.monotonic() + 240, []
        try:
            while kept.newest(run) is None and time.monotonic() < ends and launched.poll() is None:
                time.sleep(0.2)
            ranks = psutil.Process(launched.pid).children(recursive=True)
            second = [one for one in ranks if one.environ().get("RANK") == "1"]
            assert len(second) == 1, Path(said.name).read_text()[-2000:]
            second[0].kill()
            assert launched.wait(timeout=120) != 0  # none waits for ever
        finally:
            for left in (launched, *ranks):
                with suppress(psutil.NoSuchProcess):
                    left.kill()
    found = kept.newest(run)
    assert found is not None
    trained(run, split, settings(f"sft.steps={found.step + 2}", constant))
    assert len(losses_of(run)) == found.step + 2


def test_a_loss_that_is_no_number_stops_the_run_and_the_good_is_kept(split: Split, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = settings("sft.warmup=0", "checkpoints.every=1")
    trained(run, split, told.model_copy(update={"sft": told.sft.model_copy(update={"steps": 1})}))
    before = weights(run, 1)
    wild = told.model_copy(update={"sft": told.sft.model_copy(update={"rate": 1e20})})
    with pytest.raises(TrainingError, match=r"at step \d+ the loss is (nan|inf)"):
        trained(run, split, wild)
    found = kept.newest(run)
    assert found is not None
    assert found.step == 1  # what step 2 learnt was found out at step 3
    assert all(torch.equal(before[name], value) for name, value in weights(run, 1).items())


@pytest.mark.parametrize("name", ["learning.safetensors", "state.json", "weights.json"])
def test_a_cut_checkpoint_is_passed_over(name: str, split: Split, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(run, split, settings())
    path = run / "checkpoints" / "000004" / name
    path.write_bytes(path.read_bytes()[:-7])
    found = kept.newest(run)
    assert found is not None
    assert found.step == 2
    assert trained(run, split, settings()).steps == 4


def test_where_none_is_whole_nothing_is_begun_anew_in_silence(split: Split, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(run, split, settings())
    for folder in (run / "checkpoints").iterdir():
        (folder / "optimizer.safetensors").unlink()
    with pytest.raises(TrainingError, match="none of its checkpoints is whole"):
        trained(run, split, settings())
    assert len(losses_of(run)) == 4


def test_only_the_newest_checkpoints_stay(split: Split, tmp_path: Path) -> None:
    trained(tmp_path / "run", split, settings("checkpoints.every=1"))
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["000003", "000004"]


def test_the_rate_rises_then_falls() -> None:
    sft = settings("sft.decay=cosine", "sft.steps=100", "sft.warmup=10", "sft.rate=1.0").sft
    rates = [scheduled(sft, step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--version", "v9"), "version 'v9'"),
        (("--version", "v1", "--held-out", "nobody"), "split group 'nobody'"),
        (("--version", "v1", "--backbone", "huge"), "--backbone huge"),
        (("--version", "v1", "--held-out", "train"), "--held-out train"),
        (("--version", "v1", "--set", "sft.cache=true"), "data.crop = 'whole'"),
        (("--version", "v1", "--set", "sft.setps=3"), "did you mean 'sft.steps'"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_line(
    arguments: tuple[str, ...], said: str, small: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from flows import cli

    out = tmp_path / "run"
    line = ["omnirefiner", "train", "sft", "--lake", str(small.root), "--out", str(out), *arguments]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_a_run_keeps_to_what_it_was_begun_with(
    small: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import cli

    def start(*more: str) -> Any:
        assigned = [part for one in (*SMALL, *more) for part in ("--set", one)]
        told = ["--version", "v1", "--lake", str(small.root), "--held-out", "none", "--out", str(tmp_path / "run")]
        monkeypatch.setattr(sys, "argv", ["omnirefiner", "train", "sft", *told, "--json", *assigned])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code
        return 0

    assert start("sft.steps=1", "sft.decay=constant") in (0, None)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 1
    assert start("sft.steps=2", "sft.decay=constant") in (0, None)  # a run may go on for longer
    assert start("tiny.depth=2", "sft.decay=constant") == 2
    assert "it was begun with another tiny.depth" in capsys.readouterr().err
