"""The loop of a training run: batches, the optimizer's steps, checkpoints, trials, and what is told of them.

What is learnt from a batch is the caller's: SFT leaves one gradient with the weights, GRPO one for each pass over what
it sampled.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import nn

from schemas.errors import SettingsError, TrainingError
from schemas.training import Learning, Training
from training import kept
from training.backbones import Backbone
from training.dataset import Batch, Split, State, batches
from training.journal import Journal, read_metrics
from training.mean import RunningMean, bear, learning_in
from training.sharded import is_shared, whole
from training.validate import Draft, Score, refined, validate

Advance = Callable[[int, str], None]
Figures = dict[str, float]

PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # plain processes, no plugins


@dataclass(frozen=True)
class Done:
    """What a run has come to: its last step, and the last validation's figures."""

    steps: int
    figures: dict[str, Any]


@dataclass(frozen=True)
class Learner:
    """What learns in a run, and what of it is kept.

    While it learns, `backbone` bears its transformer as it was prepared for several processes; `transformer` is the
    same as it is.
    """

    run: Path
    settings: Training
    learning: Learning
    accelerator: Accelerator
    backbone: Backbone
    transformer: nn.Module
    optimizer: torch.optim.Optimizer
    mean: RunningMean | None
    journal: Journal | None  # the first process's
    drafts: dict[str, Draft] = field(default_factory=dict)  # that are held out: the same at every trial


# Leaves gradients of the batch for step + 1 with the weights, and yields each time they are wanted: the loss.
Gradients = Callable[[Learner, Batch, int, Figures], Iterator[float]]


def learn(
    run: Path,
    backbone: Backbone,
    settings: Training,
    learning: Learning,
    split: Split,
    held_out: Split | None,
    gradients: Gradients,
    score: Score | None = None,
    advance: Advance = lambda steps, note: None,
) -> Done:
    """Learn up to `learning.steps`, from the newest checkpoint in the folder `run` where there is one.

    What learns is what wants a gradient (`let_learn`).

    Metrics, pictures and checkpoints go into `run`. Raises TrainingError where the loss is no longer a number (the last
    checkpoint stays), or a checkpoint cannot be written; DataError as `training.dataset.batches` does.
    """
    weights = [weight for _, weight in learning_in(backbone.transformer)]
    optimizer = torch.optim.AdamW(
        weights, learning.rate, betas=(0.9, 0.99), weight_decay=learning.weight_decay, fused=True
    )
    mean = RunningMean(backbone.transformer, learning.ema) if learning.ema else None
    step, state = _resumed(run, backbone, optimizer, mean)
    advance(step, "")
    accelerator = _accelerator(run, learning)
    journal = Journal(run, after=step) if accelerator.is_main_process else None
    learner = Learner(run, settings, learning, accelerator, backbone, backbone.transformer, optimizer, mean, journal)
    shared = is_shared(backbone.transformer)  # then it stays where it is, and exchanges its gradients itself
    backbone.transformer = accelerator.prepare_model(
        backbone.transformer, device_placement=not shared, evaluation_mode=shared
    )
    due = False
    began = time.perf_counter()
    try:
        if score and step == 0:  # what it has to surpass
            _try(learner, held_out, step, score)
            began = time.perf_counter()
        rank, world = accelerator.process_index, accelerator.num_processes
        for batch in batches(split, settings.data, settings.seed, state, rank, world):
            if step >= learning.steps:
                break
            figures: Figures = {"rate": scheduled(learning, step)}
            with _told_where_memory_ends(run, step):
                for loss in gradients(learner, batch, step, figures):
                    norm = float(whole(accelerator.clip_grad_norm_(weights, learning.clip)))
                    _refuse_ruin(run, step, loss, norm)
                    if due:  # only now it is known that what was learnt then is good
                        _keep(learner, step, state)
                        due = False
                    _step(learner, figures["rate"])
                    figures |= {"loss": loss, "norm": norm}
            step, state = step + 1, batch.state
            due = due or step % settings.checkpoints.every == 0
            if journal:
                seconds = time.perf_counter() - began
                journal.write(step, **figures, seconds=seconds, substitutes=batch.substitutes)
            advance(1, _note(figures))
            began = time.perf_counter()
            if step == learning.steps or step % settings.validation.every == 0:
                _try(learner, held_out, step, score)
            if step == learning.steps:
                _keep(learner, step, state)
            del batch  # its memory is wanted for the next
    finally:
        backbone.transformer = learner.transformer
        if journal:
            journal.close()
    if mean:
        bear(learner.transformer, mean.weights)  # what is handed back is what was kept
    return Done(step, next((line["validation"] for line in reversed(read_metrics(run)) if "validation" in line), {}))


def _step(learner: Learner, rate: float) -> None:
    """Let the weights follow their gradient at a rate."""
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    learner.optimizer.step()
    learner.optimizer.zero_grad()
    if learner.mean:
        learner.mean.update(learner.transformer)


@contextmanager
def _told_where_memory_ends(run: Path, step: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"run {run}: step {step + 1} wants more memory than the device has; begin another run with a smaller "
            "at_once or data.size"
        ) from None


def let_learn(backbone: Backbone, learning: Learning) -> None:
    """Let the LoRA that a backbone bears want a gradient, or all of its transformer.

    Raises SettingsError where all should learn, in a precision that is too coarse for it.
    """
    transformer = backbone.transformer
    if learning.checkpointing:
        transformer.enable_gradient_checkpointing()  # type: ignore[operator]  # every backbone's has it
    if hasattr(transformer, "peft_config"):
        return
    if any(weight.dtype != torch.float32 for weight in transformer.parameters()):
        raise SettingsError(
            "setting sft.lora: 0 lets all weights learn, which takes float32: set dtype of the backbone"
        )
    transformer.requires_grad_()


def scheduled(learning: Learning, step: int) -> float:
    """Return the rate of a step, counted from 0: it rises in a line, then stays, or falls as a cosine to nothing."""
    warm = min(1.0, (step + 1) / max(1, learning.warmup))
    done = max(0, step - learning.warmup) / max(1, learning.steps - learning.warmup)
    return learning.rate * warm * (0.5 * (1 + math.cos(math.pi * done)) if learning.decay == "cosine" else 1.0)


def in_turn(learner: Learner, last: bool) -> Any:
    """Return a context in which processes do not exchange gradients, but for the last part of a batch.

    Where weights are shared out they do each time: no process has room for all gradients.
    """
    return (
        nullcontext()
        if last or is_shared(learner.transformer)
        else learner.accelerator.no_sync(learner.backbone.transformer)
    )


def _accelerator(run: Path, learning: Learning) -> Accelerator:
    accelerator = Accelerator(mixed_precision=learning.precision, cpu=not torch.cuda.is_available())
    if accelerator.distributed_type not in PARALLEL:
        raise TrainingError(
            f"run {run}: {accelerator.distributed_type.value} is not known here; launch plain processes (torchrun, or "
            "accelerate launch --multi_gpu), and let sft.sharded share the model out among them"
        )
    return accelerator


def _refuse_ruin(run: Path, step: int, loss: float, norm: float) -> None:
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise TrainingError(
            f"run {run}: at step {step + 1} the loss is {loss}, its gradient {norm}; the checkpoint before is kept: "
            "begin another run with a lower rate, or with precision=no"
        )


def _note(figures: Figures) -> str:
    return f"reward {figures['reward']:.4f}" if "reward" in figures else f"loss {figures['loss']:.4f}"


def _resumed(
    run: Path, backbone: Backbone, optimizer: torch.optim.Optimizer, mean: RunningMean | None
) -> tuple[int, State]:
    found = kept.newest(run)
    if found is None:
        return 0, State()
    kept.restore(found, backbone.transformer, optimizer, mean)
    return found.step, found.state


def _keep(learner: Learner, step: int, state: State) -> None:
    """Keep what was learnt: the first process writes it, while the others wait."""
    told = (learner.run, step, state, learner.backbone, learner.settings, learner.optimizer, learner.mean)
    with _as_it_is(learner):
        kept.keep(*told, writes=learner.accelerator.is_main_process)
    learner.accelerator.wait_for_everyone()


def _try(learner: Learner, held_out: Split | None, step: int, score: Score | None) -> None:
    """Try what was learnt on what is held out, in the first process, while the others wait, or help it.

    Where weights are shared out, none can do without the others: all try the same, and one tells of it.
    """
    if held_out and (learner.journal or is_shared(learner.transformer)):
        mean, settings = learner.mean, learner.settings
        with _as_it_is(learner), mean.lend(learner.transformer) if mean else nullcontext():
            found = validate(partial(refined, learner.backbone, settings), settings, held_out, score, learner.drafts)
            if learner.journal:
                learner.journal.validated(step, found, settings.validation.shown)
    learner.accelerator.wait_for_everyone()


@contextmanager
def _as_it_is(learner: Learner) -> Iterator[None]:
    """Let the backbone bear its transformer as it is, not as it was prepared for several processes."""
    prepared, learner.backbone.transformer = learner.backbone.transformer, learner.transformer
    try:
        yield
    finally:
        learner.backbone.transformer = prepared
