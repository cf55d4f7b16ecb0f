"""A run's checkpoints: all that it needs to go on as if nothing had been, written whole or not at all.

    checkpoints/000500/
        weights.json, weights.safetensors (or LoRA)     what has learnt, as `refine` takes it
        learning.safetensors, mean.safetensors          the weights that learn as they are, and their running mean
        optimizer.safetensors                           the optimizer's moments
        state.json                                      the step, the place in the data, the digest of every file

What chance decides is keyed by seed, step and sample: there are no random states to keep.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from schemas.errors import TrainingError
from schemas.training import Training
from training.backbones import Backbone
from training.checkpoints import learnt, save_weights
from training.dataset import State
from training.mean import RunningMean, bear, learning_in
from training.sharded import gathered, part

FOLDER, STATE = "checkpoints", "state.json"
LEARNING, MEAN, OPTIMIZER = "learning.safetensors", "mean.safetensors", "optimizer.safetensors"


@dataclass(frozen=True)
class Kept:
    """A sound checkpoint: its folder, the step after which it was written, and where in the data the run was."""

    folder: Path
    step: int
    state: State


def keep(
    run: Path,
    step: int,
    state: State,
    backbone: Backbone,
    settings: Training,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean | None,
    *,
    writes: bool,
) -> None:
    """Write a checkpoint, give it its name once all of it is on the disk, and delete those beyond `keep`.

    Where there is a running mean, that is what `refine` gets. Where weights are shared out all processes must call
    this, and one of them `writes`. Raises TrainingError where the disk does not take it: what was kept before stays.
    """
    transformer = backbone.transformer
    folder = run / FOLDER / f"{step:06d}"
    unfinished = folder.with_name(f".{folder.name}")
    averages = mean.weights if mean else {}
    try:
        if writes:
            shutil.rmtree(unfinished, ignore_errors=True)
        # one file after the other: the first process need not have room for all that is gathered
        weights = gathered(learnt(backbone, averages), writes)
        if writes:
            save_weights(unfinished, backbone, settings, weights)
        del weights
        files: list[tuple[str, dict[str, Tensor], dict[str, str] | None]] = [
            (LEARNING, dict(learning_in(transformer)), None), (OPTIMIZER, _moments(transformer, optimizer), None)
        ]  # fmt: skip
        if mean:
            files.append((MEAN, averages, {"steps": str(mean.steps)}))
        for name, tensors, about in files:
            whole = gathered(tensors, writes)
            if writes:
                save_file(whole, unfinished / name, metadata=about)
            del whole
        if not writes:
            return
        digests = {path.name: _digest(path) for path in sorted(unfinished.iterdir())}
        told = {"step": step, "state": asdict(state), "files": digests}
        (unfinished / STATE).write_text(json.dumps(told, indent=1) + "\n")
        for path in (*unfinished.iterdir(), unfinished):
            _sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
        _sync(folder.parent)
        before = [one for one in _folders(run) if int(one.name) <= step]
        for old in {*_folders(run)}.difference(before[-settings.checkpoints.keep :]):  # later ones are of no use
            shutil.rmtree(old)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        what = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise TrainingError(
            f"checkpoint {folder}: it cannot be written ({what}); mend that and start the same run again: it goes on "
            "from the checkpoint before"
        ) from None


def newest(run: Path) -> Kept | None:
    """Return the newest checkpoint of a run that is whole, or None where it has none; cut ones are passed over.

    Raises TrainingError where it has some, and none is whole.
    """
    for folder in reversed(_folders(run)):
        try:
            told = json.loads((folder / STATE).read_bytes())
            if all(_digest(folder / name) == digest for name, digest in told["files"].items()):
                return Kept(folder, told["step"], State(**told["state"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    if _folders(run):
        raise TrainingError(
            f"run {run}: none of its checkpoints is whole; restore one, or delete {run / FOLDER} to begin anew"
        )
    return None


def restore(found: Kept, transformer: nn.Module, optimizer: torch.optim.Optimizer, mean: RunningMean | None) -> None:
    """Give the weights that learn, their running mean and their moments the values that they had.

    Raises TrainingError where the checkpoint is of another model.
    """
    learning = load_file(found.folder / LEARNING)
    own = dict(learning_in(transformer))
    if {name: value.shape for name, value in learning.items()} != {name: value.shape for name, value in own.items()}:
        raise TrainingError(f"checkpoint {found.folder}: it is of another model; name another run, or its own settings")
    bear(transformer, learning)
    if mean and (found.folder / MEAN).exists():
        with safe_open(found.folder / MEAN, "pt") as file:
            mean.steps = int((file.metadata() or {})["steps"])
            mean.weights = {name: part(file.get_tensor(name), own[name]) for name in own}
    moments = load_file(found.folder / OPTIMIZER)
    for name, weight in transformer.named_parameters():
        known = {key.removeprefix(f"{name}:"): value for key, value in moments.items() if key.startswith(f"{name}:")}
        if known:
            optimizer.state[weight] = {  # a fused optimizer counts its steps where the weight is
                key: value.to(weight.device) if key == "step" else part(value, weight) for key, value in known.items()
            }


def _moments(transformer: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}:{key}": value
        for name, weight in transformer.named_parameters()
        if weight in optimizer.state
        for key, value in optimizer.state[weight].items()
    }


def _folders(run: Path) -> list[Path]:
    return sorted((path for path in (run / FOLDER).glob("[0-9]*") if path.is_dir()), key=lambda path: int(path.name))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
