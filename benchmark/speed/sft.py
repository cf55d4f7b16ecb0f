"""What data, logging and checkpoints add to fine-tuning: a run beside its forward, backward and optimizer alone.

Both do the same steps on the same batches; the bare loop has them in memory. They take turns, each with weights of its
own.

python -m benchmark.speed.sft --lake LAKE --version v1
"""

import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from schemas.training import Training, load_training
from tasks.engines.load import one_thread_each
from training.backbones.opened import open_backbone
from training.dataset import Batch, Split, batches, open_split
from training.journal import read_metrics
from training.loop import let_learn, scheduled
from training.mean import learning_in
from training.seeds import seeded
from training.sft import losses, train


def main(
    lake: Annotated[str, typer.Option(help="A lake that holds the version.")],
    version: Annotated[str, typer.Option(help="A published version.")],
    steps: Annotated[int, typer.Option(min=4, help="Of a turn; a checkpoint is written at its end.")] = 60,
    turns: Annotated[int, typer.Option(min=1)] = 3,
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure a step of `tiny` as `train sft` does it, and alone."""
    one_thread_each()
    more = (f"sft.steps={steps}", f"checkpoints.every={steps}", "data.reference=whole")
    settings = load_training([*(assignments or ()), *more], "tiny")
    result = measure(open_split(lake, version, "train"), settings, turns)
    if as_json:
        print(json.dumps(result))
        return
    print(
        f"{result['steps']} steps of {settings.data.batch} samples at {settings.data.size} px, {turns} turns: "
        f"run {result['run']:.1f} ms a step, bare {result['bare']:.1f} ms; ratio {result['ratio']:.3f}"
    )


def measure(split: Split, settings: Training, turns: int) -> dict[str, Any]:
    """Return medians over turns in milliseconds a step, start-up apart (the first step of each)."""
    kept = [_copied(batch) for batch in islice(batches(split, settings.data, settings.seed), settings.sft.steps)]
    run, bare = [], []
    for _ in range(turns):
        run.append(_run(split, settings))
        bare.append(_bare(kept, settings))
    found = {"run": statistics.median(run), "bare": statistics.median(bare)}
    return {
        "steps": settings.sft.steps,
        **found,
        "ratio": found["run"] / found["bare"],
    }


def _run(split: Split, settings: Training) -> float:
    seeded(settings.seed)
    backbone = open_backbone("tiny", settings)
    with tempfile.TemporaryDirectory() as folder:
        ends: list[float] = []
        train(Path(folder), backbone, settings, split, None, lambda steps, note: ends.append(time.perf_counter()))
        ended = time.perf_counter()  # the checkpoint included
        assert len(read_metrics(Path(folder))) == settings.sft.steps
    return 1000 * (ended - ends[1]) / (settings.sft.steps - 1)  # ends[0] is where the run begins


def _bare(kept: list[Batch], settings: Training) -> float:
    seeded(settings.seed)
    backbone = open_backbone("tiny", settings)
    let_learn(backbone, settings.sft)
    weights = [weight for _, weight in learning_in(backbone.transformer)]
    optimizer = torch.optim.AdamW(weights, settings.sft.rate, betas=(0.9, 0.99), fused=True)  # as `learn` has it
    start = 0.0
    for step, batch in enumerate(kept):
        start = time.perf_counter() if step == 1 else start
        for group in optimizer.param_groups:
            group["lr"] = scheduled(settings.sft, step)
        losses(backbone, settings, batch, step).mean().backward()  # type: ignore[no-untyped-call]  # torch's own
        torch.nn.utils.clip_grad_norm_(weights, settings.sft.clip)
        optimizer.step()
        optimizer.zero_grad()
    return 1000 * (time.perf_counter() - start) / (len(kept) - 1)


def _copied(batch: Batch) -> Batch:
    return Batch(
        batch.keys, batch.instructions, batch.input.clone(), batch.target.clone(), batch.mask.clone(),
        batch.reference.clone(), batch.state, batch.substitutes,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
