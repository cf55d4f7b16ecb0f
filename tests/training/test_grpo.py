"""GRPO: groups part where they should, a run goes on as if it had not stopped, and stops where it is led astray."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor, nn

from schemas.errors import SettingsError, TrainingError
from schemas.training import Grpo, Training, load_training
from tasks.lake import Lake
from tests.training.conftest import processes
from training.backbones.opened import open_backbone
from training.checkpoints import learnt, save_weights
from training.credit import Credit, credit
from training.dataset import Split, open_split
from training.flow import schedule
from training.grpo import train
from training.journal import read_metrics
from training.likeness import Likeness, open_likeness
from training.loop import Done
from training.policy import weight_after
from training.rollout import Prompts, Rollout, branch, clean_of, draw_window, step_of, trunk
from training.sde import flow_step, log_prob
from training.seeds import seeded
from training.shown import show

SMALL = [
    "data.size=64", "data.crop=whole", "data.batch=4", "data.reference=whole", "data.workers=0", "tiny.width=32",
    "tiny.depth=1", "tiny.heads=2", "grpo.steps=4", "grpo.at_once=8", "grpo.group=3", "grpo.rate=1e-3",
    "grpo.window=2", "grpo.within=[0,3]", "grpo.noise=0.3", "grpo.kl=old", "grpo.ema=0", "grpo.warmup=0",
    "validation.every=4", "validation.samples=3", "checkpoints.every=2", "refine.steps=2",
]  # fmt: skip


def settings(*more: str) -> Training:
    return load_training([*SMALL, *more], "tiny")


def trained(
    run: Path, split: Split, told: Training, held_out: Split | None = None, likeness: Likeness | None = None
) -> Done:
    seeded(told.seed)
    backbone = open_backbone("tiny", told)
    nn.init.normal_(backbone.transformer.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]  # it has learnt something
    return train(likeness or open_likeness(told.reward), run, backbone, told, split, held_out)


@pytest.fixture(scope="module")
def split(small: Lake) -> Split:
    return open_split(small.root, "v1", "train")


def told_of(run: Path, name: str) -> list[float]:
    return [line[name] for line in read_metrics(run) if name in line]


def test_a_run_leaves_rewards_guards_groups_and_curves(split: Split, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = trained(run, split, settings("grpo.updates=2", "grpo.ratio_clip=1e-5"), held_out=split)
    assert done.steps == 4
    assert {"psnr", "reward", "reward_embedder", "reward_embedder_input", "reward_pixels"} <= done.figures.keys()
    lines = [line for line in read_metrics(run) if "validation" not in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    wanted = {
        "reward",
        "reward_embedder",
        "reward_pixels",
        "spread_pixels",
        "kl",
        "clipped",
        "guard_outside",
        "guard_grid",
    }
    assert all(wanted <= line.keys() for line in lines)
    assert all(0 < line["rewarding"] <= line["sampling"] < line["seconds"] for line in lines)
    assert all(line["moved"] > 0 for line in lines)  # the second update is off the policy that sampled
    tried = [line["step"] for line in read_metrics(run) if "validation" in line]
    assert tried == [0, 4]  # what it has to surpass, too
    assert {path.name for path in (run / "groups").iterdir()} == {"000001.png", "000004.png"}
    page = (run / "curves.html").read_text()
    assert "reward: embedder, for DreamSim" in page
    assert "Groups, sampled for step 4" in page


@pytest.mark.parametrize(
    "more",
    [
        ("grpo.updates=2",),
        ("grpo.kl=frozen", "grpo.beta=0.1", "grpo.hold=1"),
        ("grpo.sde=cps", "grpo.ema=0.9"),
        ("grpo.ratio=guarded", "grpo.updates=2"),
        ("grpo.credit=sample", "grpo.varied=all", "grpo.spread=batch"),  # as larger backbones learn
    ],
)
def test_a_run_that_stops_goes_on_to_the_same_bits(more: tuple[str, ...], split: Split, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    told = settings(*more)
    trained(whole, split, told)
    trained(halves, split, settings(*more, "grpo.steps=2"))
    trained(halves, split, told)
    for name in ("learning", "optimizer", *(["mean"] if told.grpo.ema else [])):
        one, other = (load_file(run / "checkpoints" / "000004" / f"{name}.safetensors") for run in (whole, halves))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    for name in ("reward", "hold"):
        assert told_of(whole, name) == told_of(halves, name)


def test_on_the_policy_ratios_are_one_and_nothing_has_diverged(split: Split, tmp_path: Path) -> None:
    trained(tmp_path / "run", split, settings("grpo.at_once=2"))
    assert told_of(tmp_path / "run", "moved") == pytest.approx([0] * 4, abs=1e-6)
    assert told_of(tmp_path / "run", "kl") == pytest.approx([0] * 4, abs=1e-9)


def test_held_near_the_frozen_policy_a_run_strays_less(split: Split, tmp_path: Path) -> None:
    strayed = {}
    for beta in ("0", "1000"):
        trained(tmp_path / beta, split, settings("grpo.kl=frozen", f"grpo.beta={beta}", "grpo.steps=6"))
        strayed[beta] = told_of(tmp_path / beta, "kl")
    assert strayed["1000"][0] == pytest.approx(0, abs=1e-9)  # it is what it began as
    assert 0 < strayed["1000"][-1] < 0.8 * strayed["0"][-1]
    # casts of the weights are not remembered from one policy to the other
    AcceleratorState._reset_state()  # a process has one precision
    trained(tmp_path / "bf16", split, settings("grpo.kl=frozen", "grpo.beta=0.01", "grpo.precision=bf16"))
    AcceleratorState._reset_state()
    assert told_of(tmp_path / "bf16", "kl")[-1] > 0


def test_surroundings_are_held_with_a_weight_that_follows_what_is_lost(split: Split, tmp_path: Path) -> None:
    gone, outside = {}, {}
    for hold in ("1e-9", "1000"):
        trained(tmp_path / hold, split, settings(f"grpo.hold={hold}", "grpo.steps=8"))
        gone[hold], outside[hold] = (told_of(tmp_path / hold, name) for name in ("lost", "guard_outside"))
        weights = [weight_after(float(hold), gone[hold][:step]) for step in range(8)]
        assert told_of(tmp_path / hold, "hold") == pytest.approx(weights)
    assert gone["1000"][0] == pytest.approx(0, abs=1e-6)  # it is what it began as
    assert outside["1000"][0] == outside["1e-9"][0]
    assert gone["1000"][-1] < gone["1e-9"][-1] - 0.2
    assert outside["1000"][-1] > outside["1e-9"][-1] + 1  # dB


def test_within_the_mask_nothing_is_held(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_masked(*arguments: Any) -> Credit:
        found = credit(*arguments)
        return replace(found, outside=torch.zeros_like(found.outside))

    monkeypatch.setattr("training.grpo.credit", all_masked)
    for hold in ("0", "1000"):
        trained(tmp_path / hold, split, settings(f"grpo.hold={hold}", "grpo.steps=2"))
    for name in ("loss", "norm"):
        assert told_of(tmp_path / "1000", name) == told_of(tmp_path / "0", name)


@pytest.mark.parametrize("more", [("grpo.hold=10",), ("grpo.credit=sample", "grpo.varied=all", "grpo.spread=batch")])
def test_a_batch_in_parts_has_the_same_gradient(more: tuple[str, ...], split: Split, tmp_path: Path) -> None:
    for name in ("12", "5"):
        trained(tmp_path / name, split, settings(f"grpo.at_once={name}", "grpo.steps=2", *more))
    for name, least in (("reward", 0), ("norm", 0), ("lost", 1e-6)):
        assert told_of(tmp_path / "5", name) == pytest.approx(told_of(tmp_path / "12", name), rel=1e-3, abs=least)


def test_a_patch_named_twice_is_learnt_from_once(split: Split, tmp_path: Path) -> None:
    for name in ("[1.0]", "[1.0,1.0]"):
        trained(tmp_path / name, split, settings(f"reward.patches=[{name},{name}]", "grpo.steps=2"))
    for name in ("reward", "norm", "loss"):
        one, other = (told_of(tmp_path / patches, name) for patches in ("[1.0]", "[1.0,1.0]"))
        assert one == pytest.approx(other, rel=1e-3, abs=1e-7)


def test_two_processes_learn_what_one_does(small: Lake, split: Split, tmp_path: Path) -> None:
    told = settings("grpo.steps=3")
    seeded(told.seed)
    backbone = open_backbone("tiny", told)
    nn.init.normal_(backbone.transformer.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]  # it has learnt something
    save_weights(tmp_path / "start", backbone, told, learnt(backbone, {}))
    command = ["train", "grpo", "--version", "v1", "--lake", str(small.root), "--held-out", "none", "--json"]
    command += ["--from", str(tmp_path / "start")]
    for key in (
        "grpo.steps=3",
        "grpo.at_once=8",
        "grpo.group=3",
        "grpo.rate=1e-3",
        "grpo.hold=1",
        "grpo.beta=0.01",
        "checkpoints.every=2",
    ):
        command += ["--set", key]
    for name, how in (("one", [sys.executable, "-m", "flows.cli"]), ("two", processes(2))):
        done = subprocess.run(
            [*how, *command, "--out", str(tmp_path / name)], check=False, capture_output=True, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout)["steps"] == 3
    for name, least in (("reward", 0), ("norm", 0), ("groups", 0), ("lost", 1e-6), ("hold", 0)):
        assert told_of(tmp_path / "two", name) == pytest.approx(told_of(tmp_path / "one", name), rel=1e-3, abs=least)
    assert len(set(told_of(tmp_path / "one", "hold"))) > 1


def test_a_group_shares_its_trunk_and_parts_in_the_window() -> None:
    told = settings("grpo.sampler=5", "grpo.window=2", "grpo.within=[0,4]")
    seeded(0)
    backbone = open_backbone("tiny", told)
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = show(backbone, False, ["a", "b"], pictures, pictures.flip(0))
    levels, window, keys = schedule(5), range(1, 3), ["one", "two"]
    start = trunk(backbone, shown, levels, window, keys, 0, 7)
    varied = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    varied[..., :16, :] = False
    asked, rows = Prompts(shown, varied), torch.tensor([0, 0, 1, 1])
    names = ["one 0", "one 1", "two 0", "two 1"]
    rollout = branch(backbone, asked, rows, told.grpo, levels, window, start[rows], names, 0, 7)
    assert [(taken.now, taken.next) for taken in rollout.taken] == [
        pytest.approx((0.8, 0.6)), pytest.approx((0.6, 0.4))
    ]  # fmt: skip
    assert torch.equal(rollout.taken[0].x[0], rollout.taken[0].x[1])
    assert not torch.equal(rollout.taken[0].reached[0], rollout.taken[0].reached[1])
    assert not torch.equal(rollout.latents[0], rollout.latents[1])
    # where nothing is to vary the first step is the certain one
    now, next = levels[1:3].tolist()
    certain = start + shown.velocity(backbone, start, start.new_full((2,), now)) * (next - now)
    assert torch.allclose(rollout.taken[0].reached[..., :16, :], certain[rows][..., :16, :], atol=1e-6)
    assert not torch.allclose(rollout.taken[0].reached[..., 16:, :], certain[rows][..., 16:, :], atol=1e-2)
    # alone, or in another order, a sample is the same
    alone = branch(backbone, asked, rows[3:], told.grpo, levels, window, start[rows[3:]], names[3:], 0, 7)
    assert torch.allclose(alone.latents[0], rollout.latents[3], atol=1e-5)
    # what is kept of a step is enough to know its probability
    assert [taken.parting for taken in rollout.taken] == [True, False]
    for taken in rollout.taken:  # where a group parts, the backbone is asked once: it says what it says to each
        step = step_of(backbone, asked, rows, told.grpo, taken.x, taken.now, taken.next, False)
        assert torch.allclose(log_prob("flow", step, taken.reached), taken.log_prob, atol=1e-5)
    # and to what clean latents it was to lead, whether it was certain or not
    clean = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for taken in rollout.taken:
        velocity = (taken.x - clean) / taken.now
        mean = flow_step(taken.x, velocity, taken.now, taken.next, told.grpo.noise).mean
        mean[..., :16, :] = (taken.x + velocity * (taken.next - taken.now))[..., :16, :]
        assert torch.allclose(clean_of(asked, rows, told.grpo, mean, taken), clean, atol=1e-4)


def test_windows_are_drawn_anew_and_cover_all_that_is_allowed() -> None:
    grpo = Grpo(sampler=10, window=4, within=(0, 7))
    drawn = [draw_window(grpo, 0, step) for step in range(60)]
    assert {window.start for window in drawn} == {0, 1, 2, 3}
    assert all(len(window) == 4 for window in drawn)
    assert drawn == [draw_window(grpo, 0, step) for step in range(60)]
    assert drawn != [draw_window(grpo, 1, step) for step in range(60)]


def judge_of(describe: object) -> Likeness:
    return replace(open_likeness(settings().reward), describe=describe)  # type: ignore[arg-type]  # tests' own


def test_equal_rewards_teach_nothing(split: Split, tmp_path: Path) -> None:
    judge = judge_of(lambda pictures: torch.ones(len(pictures), 1))
    told = settings("reward.weights=[1.0,0.0]")
    seeded(told.seed)
    backbone = open_backbone("tiny", told)
    before = {name: one.clone() for name, one in backbone.transformer.state_dict().items()}
    train(judge, tmp_path / "run", backbone, told, split, None)
    assert told_of(tmp_path / "run", "dropped") == [4.0] * 4
    assert told_of(tmp_path / "run", "loss") == []
    assert all(torch.equal(before[name], one) for name, one in backbone.transformer.state_dict().items())


def test_rewards_that_are_no_numbers_are_counted_and_end_a_run_when_they_are_many(split: Split, tmp_path: Path) -> None:
    calls: list[int] = []

    def now_and_then(pictures: Tensor) -> Tensor:
        calls.append(len(pictures))
        broken = torch.full((len(pictures), 1), float("nan") if len(calls) % 12 == 1 else 1.0)
        return broken * pictures.mean(dim=(1, 2, 3))[:, None]

    trained(tmp_path / "some", split, settings(), likeness=judge_of(now_and_then))
    broken, dropped = told_of(tmp_path / "some", "broken"), told_of(tmp_path / "some", "dropped")
    assert 0 < sum(broken) < 2
    assert sum(dropped) >= 1
    with pytest.raises(TrainingError, match=r"100% of the rewards are no numbers; the checkpoint before is kept"):
        trained(tmp_path / "all", split, settings(), likeness=judge_of(lambda x: torch.full((len(x), 1), float("nan"))))


def test_a_sample_that_is_no_number_does_not_spoil_its_batch(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*arguments: Any) -> Rollout:
        found = branch(*arguments)
        if not arguments[7][0].endswith(" 0"):  # the part that begins with a group is left as it is
            return found
        broken = torch.where(torch.arange(len(found.latents)).view(-1, 1, 1, 1) == 0, float("nan"), 1.0)
        taken = tuple(replace(one, reached=one.reached * broken, mean=one.mean * broken) for one in found.taken)
        return Rollout(found.latents * broken, taken)

    monkeypatch.setattr("training.grpo.branch", spoilt)
    run = tmp_path / "run"
    trained(run, split, settings("grpo.steps=2", "grpo.at_once=3", "guards.broken=0.9", "grpo.updates=2"))
    assert all(torch.isfinite(torch.tensor(told_of(run, name))).all() for name in ("broken", "dropped", "reward"))
    assert told_of(run, "broken") == pytest.approx([4 / 12] * 2)
    assert told_of(run, "dropped") == [4.0] * 2
    trained(tmp_path / "mixed", split, settings("grpo.steps=2", "grpo.at_once=5", "guards.broken=0.9", "grpo.hold=1"))
    assert told_of(tmp_path / "mixed", "groups") == [3.0] * 2
    assert len(told_of(tmp_path / "mixed", "norm")) == 2
    assert torch.isfinite(torch.tensor(told_of(tmp_path / "mixed", "kl"))).all()


def test_a_reward_that_dies_ends_the_run_with_its_name(split: Split, tmp_path: Path) -> None:
    calls: list[int] = []

    def dies(pictures: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 40:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return pictures.flatten(1)[:, :8]

    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"at step \d the reward 'embedder' failed \(CUDA error: device-side"):
        trained(run, split, settings("grpo.steps=20"), likeness=judge_of(dies))
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept  # and it goes on from there
    begun = told_of(run, "reward")
    trained(run, split, settings("grpo.steps=8"))
    assert told_of(run, "reward")[: int(kept[-1])] == begun[: int(kept[-1])]
    assert len(told_of(run, "reward")) == 8


def test_a_run_that_is_led_astray_stops(split: Split, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"after step 4 surroundings are being spoilt: .*raise grpo.beta"):
        trained(tmp_path / "run", split, settings("guards.over=2", "grpo.rate=0.5", "grpo.hold=0", "grpo.steps=6"))


def test_a_group_larger_than_memory_is_told(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("training.grpo.trunk", full)
    with pytest.raises(TrainingError, match=r"step 1 wants more memory than the device has; .*smaller at_once"):
        trained(tmp_path / "run", split, settings())


@pytest.mark.parametrize(
    ("assigned", "word"),
    [
        (["grpo.sampler=4", "grpo.within=[0,5]"], "end at most 4"),
        (["grpo.sampler=4", "grpo.within=[0,4]", "grpo.sde=cps"], "end at most 3"),
        (["grpo.window=4", "grpo.within=[2,5]"], "room for a window of 4 steps"),
        (["grpo.sde=cps", "grpo.ratio=guarded"], "guarded"),
        (["grpo.credit=patch", "grpo.spread=batch"], "it wants spread = 'group'"),
        (["reward.weights=[0,0]"], "weights must name one reward"),
        (["reward.patches=[[],[1.0]]"], "patches one side for each"),
        (["reward.least=32"], "reward.least"),
        (["grpo.group=1"], "greater than or equal to 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_work(assigned: Sequence[str], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        load_training(assigned)
