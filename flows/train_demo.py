"""Does it learn? Refiners, trained for several seeds, are tried on products that none of them has seen."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.refiners import Comparison, pasted, read_run, write_comparison
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
UNSEEN = 2  # seed of the rendering: products that nothing was chosen on
BLIND = ("blind=true", "data.reference=whole")
BY = "OMP_NUM_THREADS"  # processes that share a machine


@dataclass(frozen=True)
class Run:
    """A training of `tiny`, in a folder: SFT, or GRPO of what the run `start` has learnt; settings as `key=value`."""

    folder: Path
    seed: int
    assignments: Sequence[str]
    start: Path | None = None


def built(rendered: bool) -> list[str]:
    """Return the settings of the lake: a third of its products to be tried on, edits that show at `tiny`'s size."""
    per_pair = 2 if rendered else 8  # edits: given photos may be of few products
    return [
        "splits.train=0.65", "splits.validation=0.35", "splits.benchmark=0.0", f"instruct.edits_per_pair={per_pair}",
        "edit.strength=[0.9,1.0]",
    ]  # fmt: skip


def train_and_compare(
    lake: Path, version: str, runs: Path, seeds: int, at_once: int, sft: Sequence[str], grpo: Sequence[str]
) -> dict[str, Comparison]:
    """Train by SFT, blind and not, then by GRPO, for each seed; return how they compare, and write it into `runs`.

    They compare on all samples, on those of gross and of slight damage, by the names of `benchmark.refiners.PARTS`.
    `sft` and `grpo` are settings, as `key=value`. Each run is a process of one thread, `at_once` of them at a time; one
    that was begun before goes on. Raises TrainingError where one fails, and ends the others.
    """
    one_thread_each()
    settings = load_training([*sft, *grpo], "tiny")  # wrong ones are told before any work
    with bars() as bar:
        for group in (HELD_OUT,) if settings.data.reference == "whole" else ("train", HELD_OUT):
            split = open_split(str(lake), version, group)
            look_up(split, runs / "places", at_once, bar(f"places {group}", split.samples))
    seeing = [Run(runs / f"sft-{seed}", seed, sft) for seed in range(seeds)]
    blind = [Run(runs / f"blind-{seed}", seed, (*sft, *BLIND)) for seed in range(seeds)]
    sharpened = [Run(runs / f"grpo-{run.seed}", run.seed, grpo, run.folder) for run in seeing]
    # GRPO stands behind the SFT of the next seed, or the last of them would be long alone at the end
    trainings = [seeing[0], blind[0]]
    for three in zip(seeing[1:], sharpened, blind[1:], strict=False):
        trainings += three
    trainings.append(sharpened[-1])
    run_all(lake, version, trainings, at_once)
    lines: dict[str, list[Mapping[str, Any]]] = {
        "paste": _pasted(lake, version, runs, settings),
        "blind": [line for seed in range(seeds) for line in read_run(runs / f"blind-{seed}")],
        "sft": [line for seed in range(seeds) for line in read_run(runs / f"grpo-{seed}", 0)],  # with its reward
        "grpo": [line for seed in range(seeds) for line in read_run(runs / f"grpo-{seed}")],
    }
    return write_comparison(runs, lines, products_of(lake), f"Refiners trained on version '{version}', {seeds} seeds")


def products_of(lake: Path) -> dict[str, str]:
    """Return the product of each sample, by its key."""
    with catalog.read(Lake(lake)) as connection:
        found = catalog.rows(connection, "SELECT quadruplet_id, product FROM samples")
    return {row["quadruplet_id"]: row["product"] for row in found}


def run_all(lake: Path, version: str, trainings: Sequence[Run], at_once: int) -> None:
    """Run so many at once, in order but for those that wait for the run they start from; tell how far they are.

    Each is a process of one thread. Raises TrainingError where one fails, with its last line, and ends the others, as
    an interruption does: they go on from their last checkpoints another time.
    """
    waiting = list(trainings)
    running: dict[Future[tuple[str, str]], tuple[Run, subprocess.Popen[str]]] = {}
    with bars() as bar, ThreadPoolExecutor(at_once) as pool:
        advance = bar("trainings", len(trainings))
        try:
            while waiting or running:
                open_runs = {run.folder for run in (*waiting, *(run for run, _ in running.values()))}
                ready = [run for run in waiting if run.start not in open_runs]
                for run in ready[: at_once - len(running)]:
                    waiting.remove(run)
                    process = _start(lake, version, run)
                    running[pool.submit(process.communicate)] = run, process
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    run, process = running.pop(one)
                    _, said = one.result()
                    if process.returncode:
                        raise _failure(run, process.returncode, said)
                    advance(1)
        finally:
            for _, process in running.values():
                process.terminate()


def _start(lake: Path, version: str, run: Run) -> subprocess.Popen[str]:
    """Start `omnirefiner train` in a process of one thread."""
    what = ["sft", "--backbone", "tiny"]
    if run.start is not None:
        found = kept.newest(run.start)
        assert found is not None  # a run that has ended has one
        what = ["grpo", "--from", str(found.folder)]
    settings = [part for one in (f"seed={run.seed}", *run.assignments) for part in ("--set", one)]
    command = ["train", *what, "--version", version, "--lake", str(lake), "--out", str(run.folder)]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command, "--held-out", HELD_OUT, *settings], env={**os.environ, BY: "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _failure(run: Run, code: int, told: str) -> TrainingError:
    *_, said = [f"it ended with exit code {code}", *told.strip().splitlines()]
    # a command's line names it and the run, as here
    said = said.removeprefix("omnirefiner: ").removeprefix(f"run {run.folder}: ")
    return TrainingError(f"run {run.folder}: {said}")


def _pasted(lake: Path, version: str, runs: Path, settings: Training) -> list[Mapping[str, Any]]:
    """Return what the reference pasted in by geometry is worth, sample by sample."""
    aligned = settings.model_copy(update={"data": settings.data.model_copy(update={"reference": "aligned"})})
    split = look_up(open_split(str(lake), version, HELD_OUT), runs / "places", 1)
    judge = partial(score, open_likeness(settings.reward), settings.reward)
    return [{"key": one.key, **one.figures} for one in validate(pasted, aligned, split, judge).samples]
