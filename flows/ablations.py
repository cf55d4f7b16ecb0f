"""What does each part of the training do? `tiny` without it, or with another, beside `tiny` as it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from benchmark.compare import Estimate
from benchmark.refiners import Line, Lines, by_product, in_parts, interval
from flows.train_demo import HELD_OUT, Run, products_of, run_all
from schemas.errors import TrainingError
from schemas.training import Training, load_training
from tasks.engines.load import one_thread_each
from training import kept
from training.checkpoints import load_weights
from training.dataset import Batch, Split, open_split
from training.likeness import open_likeness
from training.places import look_up
from training.rewards import score
from training.validate import Draft, Score, refined, validate

SFT: dict[str, tuple[str, ...]] = {"SFT, the mask weighs as much as the rest": ("sft.mask=true",)}
GRPO: dict[str, tuple[str, ...]] = {
    "GRPO, no patches": ("reward.patches=[[1.0],[1.0]]", "grpo.credit=sample"),
    "GRPO, patches, credit to all of a sample": ("grpo.credit=sample",),
    "GRPO, both rewards in coarse patches": ("reward.patches=[[1.0,0.5],[1.0,0.5]]", "reward.least=[16,16]"),
    "GRPO, chance everywhere": ("grpo.varied=all",),
    "GRPO, likeness alone": ("reward.weights=[1,0]",),
    "GRPO, pixels alone": ("reward.weights=[0,1]",),
    "GRPO, window at the beginning": ("grpo.within=[0,1]",),
    # the guard of the surroundings stops these two, which is what it is for; here it is to be seen what comes of it
    "GRPO, nothing held outside": ("grpo.hold=0", "guards.outside=100"),
    "GRPO, nothing held, KL to SFT": ("grpo.hold=0", "grpo.beta=0.01", "guards.outside=100"),
}

Gains = Mapping[str, Mapping[str, Estimate]]  # by what was left out, and figure


def ablate(folder: Path, seed: int, at_once: int, sft: Sequence[str], grpo: Sequence[str]) -> dict[str, Gains]:
    """Train with one part after the other left out or exchanged; return how much better than plain SFT each came out.

    On all samples, on those of gross and of slight damage, by the names of `benchmark.refiners.PARTS`. All are measured
    alike, whatever they were trained for. `folder` is one that `omnirefiner train demo` has filled; `sft`, `grpo` are
    settings, as it was given. The gains are written into its runs/ablations.json. Raises TrainingError where it is not
    filled, or a run fails.
    """
    one_thread_each()
    lake, runs = folder / "lake", folder / "runs"
    start, sharpened = (kept.newest(runs / f"{name}-{seed}") for name in ("sft", "grpo"))
    if start is None or sharpened is None:
        raise TrainingError(f"{runs}: it has no refiners of seed {seed}; `omnirefiner train demo --out {folder}` first")
    folders = {name: runs / f"ablation-{_slug(name)}-{seed}" for name in (*SFT, *GRPO)}
    trainings = [Run(folders[name], seed, (*sft, *changed)) for name, changed in SFT.items()]
    trainings += [Run(folders[name], seed, (*grpo, *changed), runs / f"sft-{seed}") for name, changed in GRPO.items()]
    run_all(lake, "demo", trainings, at_once)
    products, settings = products_of(lake), load_training([*sft, *grpo], "tiny")
    split = look_up(open_split(str(lake), "demo", HELD_OUT), runs / "places", 1)
    judge = partial(score, open_likeness(settings.reward), settings.reward)
    measured = partial(_measured, split, settings, judge, products, {})
    lines = {"SFT": measured(start.folder), "GRPO": measured(sharpened.folder)}
    lines |= {name: measured(_newest(run)) for name, run in folders.items()}
    lines |= {
        f"{name}, references exchanged": measured(one.folder, exchanged=True)
        for name, one in (("SFT", start), ("GRPO", sharpened))
    }
    gains = {part: _gains(some, products) for part, some in in_parts(lines).items()}
    told = {
        part: {name: {figure: asdict(one) for figure, one in each.items()} for name, each in found.items()}
        for part, found in gains.items()
    }
    kept_as = {"seed": seed, "sft": list(sft), "grpo": list(grpo), "better than SFT by": told}
    (runs / "ablations.json").write_text(json.dumps(kept_as, indent=1) + "\n")
    return gains


def _gains(lines: Lines, products: Mapping[str, str]) -> Gains:
    """Return by how much refiners are better than SFT, over products."""
    figures = sorted({name for line in lines["SFT"] for name in line if name != "key" and not name.endswith("_input")})
    values = {name: by_product(each, products) for name, each in lines.items()}
    return {
        name: {figure: gain for figure in figures if (gain := interval(each, figure, values["SFT"])) is not None}
        for name, each in values.items()
        if name != "SFT"
    }


def _measured(
    split: Split, settings: Training, judge: Score, products: Mapping[str, str], drafts: dict[str, Draft],
    checkpoint: Path, exchanged: bool = False,
) -> list[Line]:  # fmt: skip
    """Return what a refiner makes of each held-out sample; `exchanged`: shown the reference of another product."""
    backbone, own = load_weights(checkpoint)

    def refine(batch: Batch) -> Tensor:
        return refined(backbone, own, _exchanged(batch, products) if exchanged else batch)

    return [{"key": one.key, **one.figures} for one in validate(refine, settings, split, judge, drafts).samples]


def _exchanged(batch: Batch, products: Mapping[str, str]) -> Batch:
    """Return a batch in which each sample has the reference of the next one of another product, if there is one."""
    names = [products[key] for key in batch.keys]
    count = len(names)
    others = [
        next((at % count for at in range(row + 1, row + count) if names[at % count] != names[row]), row)
        for row in range(count)
    ]
    return replace(batch, reference=batch.reference[others])


def _newest(run: Path) -> Path:
    found = kept.newest(run)
    if found is None:
        raise TrainingError(f"run {run}: it has no checkpoint; delete it and start again")
    return found.folder


def _slug(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-")
