"""What does each part of the training do? `tiny` without it, beside `tiny` with it, on the same held-out products."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmark.compare import Estimate
from benchmark.refiners import by_product, interval, read_run
from flows.train_demo import HELD_OUT, run_all, run_training
from schemas.errors import TrainingError
from tasks import catalog
from tasks.engines.load import one_thread_each
from tasks.lake import Lake
from training import kept
from training.checkpoints import load_weights
from training.dataset import Batch, open_split
from training.likeness import open_likeness
from training.places import look_up
from training.rewards import score
from training.validate import refined, validate

FIGURES = {
    "psnr": "masked PSNR, dB", "reward_embedder": "likeness, by patches", "reward_pixels": "pixels, by patches",
    "background": "PSNR outside the mask, dB",
}  # fmt: skip
SFT: dict[str, tuple[str, ...]] = {"mask weighs nothing (SFT)": ("sft.mask=false",)}
GRPO: dict[str, tuple[str, ...]] = {
    "GRPO as it is": (),
    "no patches": ("reward.patches=[1.0]", "grpo.credit=sample"),
    "patches, credit to the whole sample": ("grpo.credit=sample",),
    "chance everywhere": ("grpo.varied=all",),
    "likeness alone": ("reward.weights=[1,0]",),
    "pixels alone": ("reward.weights=[0,1]",),
    "window at the beginning": ("grpo.within=[0,1]",),
    "no KL": ("grpo.beta=0",),
}

Gains = dict[str, dict[str, Estimate]]


def ablate(folder: Path, seed: int, at_once: int, sft: Sequence[str], grpo: Sequence[str]) -> Gains:
    """Train without one part after the other; return how much better than SFT as it is each came out, by figure.

    `folder` is one that `omnirefiner train demo` has filled; `sft`, `grpo` are settings, as it was given. Raises
    TrainingError where it is not, or a run fails.
    """
    one_thread_each()
    lake, runs = folder / "lake", folder / "runs"
    start = kept.newest(runs / f"sft-{seed}")
    if start is None:
        raise TrainingError(f"{runs}: it has no refiner of seed {seed}; `omnirefiner train demo --out {folder}` first")
    chains: list[Callable[[], None]] = []
    for name, settings in SFT.items():
        run = _run(runs, name, seed)
        chains.append(partial(run_training, ["sft", "--backbone", "tiny"], lake, "demo", run, seed, (*sft, *settings)))
    for name, settings in GRPO.items():
        what = ["grpo", "--from", str(start.folder)]
        run = _run(runs, name, seed)
        chains.append(partial(run_training, what, lake, "demo", run, seed, (*grpo, *settings)))
    run_all(chains, at_once)
    lines: dict[str, list[Mapping[str, Any]]] = {name: read_run(_run(runs, name, seed)) for name in (*SFT, *GRPO)}
    for name, run in (("SFT", runs / f"sft-{seed}"), ("GRPO", _run(runs, "GRPO as it is", seed))):
        lines[f"references exchanged ({name})"] = _exchanged(lake, run, runs / "places")
    with catalog.read(Lake(lake)) as connection:
        found = catalog.rows(connection, "SELECT quadruplet_id, product FROM samples")
    products = {row["quadruplet_id"]: row["product"] for row in found}
    before = by_product(read_run(_run(runs, "GRPO as it is", seed), 0), products)  # SFT, with its rewards
    return {
        name: {
            figure: gain
            for figure in FIGURES
            if (gain := interval(by_product(each, products), figure, before)) is not None
        }
        for name, each in lines.items()
    }


def _run(runs: Path, name: str, seed: int) -> Path:
    return runs / "ablations" / f"{name.replace(' ', '-').replace(',', '')}-{seed}"


def _exchanged(lake: Path, run: Path, places: Path) -> list[Mapping[str, Any]]:
    """Return what a refiner's answers are worth where each is shown another sample's reference."""
    found = kept.newest(run)
    if found is None:
        raise TrainingError(f"run {run}: it has no checkpoint")
    backbone, settings = load_weights(found.folder)
    split = look_up(open_split(str(lake), "demo", HELD_OUT), places, 1)

    def refine(batch: Batch) -> torch.Tensor:
        return refined(backbone, settings, replace(batch, reference=batch.reference.roll(1, 0)))

    judge = partial(score, open_likeness(settings.reward), settings.reward)
    return [{"key": one.key, **one.figures} for one in validate(refine, settings, split, judge).samples]
