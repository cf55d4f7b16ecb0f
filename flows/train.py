"""Train: from a published version to a refiner. What is learnt lies in a folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from flows.progress import bars
from schemas.errors import DataError, SettingsError, TrainingError
from schemas.training import BackboneName, Training, load_training
from tasks.code import code_version

if TYPE_CHECKING:
    from training.backbones import Backbone
    from training.dataset import Split
    from training.loop import Done

RUN = "run.json"
MAY_CHANGE = ("validation", "checkpoints", "refine", "guards")  # between two starts of one run; so may steps
AFRESH = (
    "grpo",
    "reward",
    "guards",
    "validation",
    "checkpoints",
)  # not as the checkpoint that GRPO begins with has them


def train_sft(
    lake: str, version: str, backbone: str, run: Path, held_out: str | None, assignments: Sequence[str]
) -> dict[str, Any] | None:
    """Fine-tune a backbone on a version's training split; return its last step and validation figures.

    `held_out` names the split group that is never trained on and always tried; None: none. Several processes (as
    torchrun starts them) divide each batch; all but the first return None.
    """
    if backbone not in get_args(BackboneName):
        raise SettingsError(f"--backbone {backbone}: no such backbone; there are: {', '.join(get_args(BackboneName))}")
    settings = load_training(assignments, backbone)
    if settings.blind:  # nobody looks at the reference
        whole = settings.data.model_copy(update={"reference": "whole"})
        settings = settings.model_copy(update={"data": whole})

    from training.backbones.opened import open_backbone
    from training.refine import device
    from training.seeds import seeded
    from training.sft import train

    def opened() -> Backbone:
        seeded(settings.seed)
        to_share = settings.sft.sharded and _process().num_processes > 1
        return open_backbone(backbone, settings, device(), to_share=to_share)

    told = {"backbone": backbone, "settings": settings.model_dump(mode="json")}
    return _trained("sft", lake, version, run, held_out, settings, settings.sft.steps, told, opened, train)


def train_grpo(
    lake: str, version: str, start: Path, run: Path, held_out: str | None, assignments: Sequence[str]
) -> dict[str, Any] | None:
    """Sharpen the refiner in the checkpoint `start` on a version's training split by GRPO; otherwise as `train_sft`."""
    from training.checkpoints import load_weights, weights_digest
    from training.grpo import train
    from training.likeness import open_likeness
    from training.refine import device

    _process()  # which device is this process's own?
    backbone, settings = load_weights(start, assignments, device(), AFRESH)
    prompts = settings.data.model_copy(update={"batch": settings.grpo.prompts})
    settings = settings.model_copy(update={"data": prompts})
    likeness = open_likeness(settings.reward)
    told = {
        "backbone": backbone.name, "start": weights_digest(start), "settings": settings.model_dump(mode="json"),
    }  # fmt: skip

    return _trained(
        "grpo", lake, version, run, held_out, settings, settings.grpo.steps, told, lambda: backbone,
        partial(train, likeness),
    )  # fmt: skip


def _trained(
    name: str, lake: str, version: str, run: Path, held_out: str | None, settings: Training, steps: int,
    told: dict[str, Any], opened: Callable[[], Backbone], train: Callable[..., Done],
) -> dict[str, Any] | None:  # fmt: skip
    """Open the splits, write down what the run is, look up places, and train."""
    if held_out == "train":
        raise SettingsError("--held-out train: that is what is trained on; name another split group, or 'none'")

    from training.dataset import open_split
    from training.places import look_up

    process = _process()
    split = open_split(lake, version, "train")
    tried = _held_out(lake, version, held_out)
    with process.main_process_first():
        _begin(run, {"version": version, "content": split.content, **told})
    backbone = opened()
    with bars() as bar:

        def looked_up(group: Split) -> Split:
            if settings.data.reference == "whole":
                return group
            advance = bar(f"places {group.split_group}", group.samples)
            return look_up(group, run.parent / "places", max(1, settings.data.workers), advance)

        with process.main_process_first():
            split, tried = looked_up(split), tried and looked_up(tried)
        advance = bar(name, steps) if process.is_main_process else lambda items, note="": None
        done = train(run, backbone, settings, split, tried, advance)
    if not process.is_main_process:
        return None
    return {"run": str(run), "steps": done.steps, "validation": done.figures}


def _process() -> Any:
    """Return this process's place among those that train together."""
    import torch
    from accelerate import PartialState

    # others wait while the first looks up places, or tries; without `cpu` those of a CPU would not know of each other
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))


def _held_out(lake: str, version: str, group: str | None) -> Split | None:
    from training.dataset import open_split

    if group is None:
        return None
    try:
        return open_split(lake, version, group)
    except DataError as error:
        raise DataError(f"{error}; or train with --held-out none, and without knowing how well it does") from None


def _begin(run: Path, told: dict[str, Any]) -> None:
    """Write down what a run is; one that was begun before must be the same."""
    path = run / RUN
    try:
        if path.exists():
            before = json.loads(path.read_bytes())
            known = Training.model_validate(
                before["settings"]
            )  # what has come since is at the default that does nothing new
            before["settings"] = known.model_dump(mode="json")
            changed = [key for key in _kept(told) if _kept(told)[key] != _kept(before).get(key)]
            if changed:
                raise TrainingError(
                    f"run {run}: it was begun with another {changed[0]}; give the same again, or another --out"
                )
        run.mkdir(parents=True, exist_ok=True)
        unfinished = run / f".{RUN}.{os.getpid()}"
        unfinished.write_text(json.dumps({**told, "code": code_version()}, indent=1) + "\n")
        unfinished.replace(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TrainingError(f"run {run}: {RUN}: {what}; mend that, or name another --out") from None


def _kept(told: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run may not change, by dotted keys."""
    flat: dict[str, Any] = {key: told.get(key) for key in ("content", "backbone", "start")}
    aside = ("sft",) if "start" in told else ("grpo", "reward")  # what the other kind of run goes by
    for section, value in told["settings"].items():
        if section in MAY_CHANGE or section in aside:
            continue
        flat |= {f"{section}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {section: value}
    if "start" in told:
        flat["refine.shift"] = told["settings"]["refine"]["shift"]  # GRPO samples along these levels
    for section in ("sft", "grpo"):
        if flat.get(f"{section}.decay") == "constant":
            flat.pop(f"{section}.steps")  # else the rate knows its end
    for key in (
        "sft.at_once",
        "sft.sharded",
        "grpo.at_once",
        "data.workers",
        "data.prefetch",
        "data.most_damaged",
        "data.digests",
        "data.keep",
    ):
        flat.pop(key, None)
    return flat
