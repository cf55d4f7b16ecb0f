"""Does it learn? Refiners, trained for several seeds, are tried on products that none of them has seen."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.refiners import Comparison, compared, pasted, read_run, write_comparison
from flows.progress import bars
from schemas.errors import TrainingError
from schemas.training import Training, load_training
from tasks import catalog
from tasks.engines.load import one_thread_each
from tasks.lake import Lake
from training import kept
from training.dataset import open_split
from training.likeness import open_likeness
from training.places import look_up
from training.rewards import score
from training.validate import validate

HELD_OUT = "validation"
RENDERED, VIEWS = 120, 2  # products and photos of each, where none are given; figures are means over products
UNSEEN = 1  # seed of the rendering: other products than settings were tried on
BLIND = ("blind=true", "data.reference=whole")
BY = "OMP_NUM_THREADS"  # processes that share a machine


def built(rendered: bool) -> list[str]:
    """Return the settings of the lake: a third of its products to be tried on, edits that show at `tiny`'s size."""
    per_pair = 2 if rendered else 8  # edits: given photos may be of few products
    return [
        "splits.train=0.65", "splits.validation=0.35", "splits.benchmark=0.0", f"instruct.edits_per_pair={per_pair}",
        "edit.strength=[0.9,1.0]",
    ]  # fmt: skip


def train_and_compare(
    lake: Path, version: str, runs: Path, seeds: int, at_once: int, sft: Sequence[str], grpo: Sequence[str]
) -> Comparison:
    """Train by SFT, blind and not, then by GRPO, for each seed; return how they compare, and write it into `runs`.

    `sft` and `grpo` are settings, as `key=value`. Each run is a process of one thread, `at_once` of them at a time; one
    that was begun before goes on. Raises TrainingError where one fails.
    """
    one_thread_each()
    settings = load_training([*sft, *grpo], "tiny")  # wrong ones are told before any work
    with bars() as bar:
        for group in (HELD_OUT,) if settings.data.reference == "whole" else ("train", HELD_OUT):
            split = open_split(str(lake), version, group)
            look_up(split, runs / "places", at_once, bar(f"places {group}", split.samples))
    chains: list[Callable[[], None]] = []
    for seed in range(seeds):
        chains += [
            partial(_refiner, lake, version, runs, seed, sft, grpo),
            partial(_sft, lake, version, runs / f"blind-{seed}", seed, (*sft, *BLIND)),
        ]
    run_all(chains, at_once)
    lines: dict[str, list[Mapping[str, Any]]] = {
        "paste": _pasted(lake, version, runs, settings),
        "blind": [line for seed in range(seeds) for line in read_run(runs / f"blind-{seed}")],
        "sft": [line for seed in range(seeds) for line in read_run(runs / f"grpo-{seed}", 0)],  # with its reward
        "grpo": [line for seed in range(seeds) for line in read_run(runs / f"grpo-{seed}")],
    }
    comparison = compared(lines, products_of(lake))
    write_comparison(runs, comparison, f"Refiners trained on version '{version}', {seeds} seeds")
    return comparison


def products_of(lake: Path) -> dict[str, str]:
    """Return the product of each sample, by its key."""
    with catalog.read(Lake(lake)) as connection:
        found = catalog.rows(connection, "SELECT quadruplet_id, product FROM samples")
    return {row["quadruplet_id"]: row["product"] for row in found}


def run_all(chains: Sequence[Callable[[], None]], at_once: int) -> None:
    """Run so many at once, all of them, and tell how far they are. Raises what the first that fails raises."""
    with bars() as bar, ThreadPoolExecutor(at_once) as pool:
        advance = bar("trainings", len(chains))
        try:
            for done in as_completed([pool.submit(chain) for chain in chains]):
                done.result()
                advance(1)
        finally:
            pool.shutdown(cancel_futures=True)


def _pasted(lake: Path, version: str, runs: Path, settings: Training) -> list[Mapping[str, Any]]:
    """Return what the reference pasted in by geometry is worth, sample by sample."""
    aligned = settings.model_copy(update={"data": settings.data.model_copy(update={"reference": "aligned"})})
    split = look_up(open_split(str(lake), version, HELD_OUT), runs / "places", 1)
    judge = partial(score, open_likeness(settings.reward), settings.reward)
    return [{"key": one.key, **one.figures} for one in validate(pasted, aligned, split, judge).samples]


def _refiner(lake: Path, version: str, runs: Path, seed: int, sft: Sequence[str], grpo: Sequence[str]) -> None:
    _sft(lake, version, runs / f"sft-{seed}", seed, sft)
    found = kept.newest(runs / f"sft-{seed}")
    assert found is not None  # a run that has ended has one
    run_training(["grpo", "--from", str(found.folder)], lake, version, runs / f"grpo-{seed}", seed, grpo)


def _sft(lake: Path, version: str, run: Path, seed: int, assignments: Sequence[str]) -> None:
    run_training(["sft", "--backbone", "tiny"], lake, version, run, seed, assignments)


def run_training(
    what: Sequence[str], lake: Path, version: str, run: Path, seed: int, assignments: Sequence[str]
) -> None:
    """Run `omnirefiner train WHAT` in a process of one thread. Raises TrainingError with its last line."""
    settings = [part for one in (f"seed={seed}", *assignments) for part in ("--set", one)]
    command = ["train", *what, "--version", version, "--lake", str(lake), "--out", str(run), "--held-out", HELD_OUT]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *command, *settings], check=False, capture_output=True, text=True,
        env={**os.environ, BY: "1"},
    )  # fmt: skip
    if done.returncode:
        *_, said = [f"it ended with exit code {done.returncode}", *done.stderr.strip().splitlines()]
        # a command's line names it and the run, as here
        said = said.removeprefix("omnirefiner: ").removeprefix(f"run {run}: ")
        raise TrainingError(f"run {run}: {said}")
