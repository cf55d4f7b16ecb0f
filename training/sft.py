"""Supervised fine-tuning: a backbone learns the way from noise to the target, given draft, reference and instruction.

    x_sigma = (1 - sigma) target + sigma noise
    loss = masked |v(x_sigma, draft, reference, words) - (noise - target)|^2

Noise and its level are keyed by seed, step and sample: a run is the same however many processes share it, and goes on
from a checkpoint as if it had not stopped.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from schemas.errors import SettingsError, TrainingError
from schemas.ids import stream
from schemas.training import Sft, Training
from training import kept
from training.backbones import Backbone, Text
from training.cached import Cache
from training.dataset import Batch, Split, State, batches
from training.flow import masked_loss, mix, shifted, shrink
from training.journal import Journal, read_metrics
from training.lora import add_lora
from training.mean import RunningMean, bear
from training.validate import validate

Advance = Callable[[int, str], None]

PARALLEL = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # each holds the whole model


@dataclass(frozen=True)
class Done:
    """What a run has come to: its last step, and the last validation's figures."""

    steps: int
    figures: dict[str, Any]


@dataclass(frozen=True)
class _Trained:
    """What learns in a run, and what of it is kept."""

    run: Path
    settings: Training
    accelerator: Accelerator
    backbone: Backbone
    transformer: nn.Module  # as it is, while the backbone may bear it as it was prepared for several processes
    optimizer: torch.optim.Optimizer
    mean: RunningMean | None


def train(
    run: Path,
    backbone: Backbone,
    settings: Training,
    split: Split,
    held_out: Split | None,
    advance: Advance = lambda steps, note: None,
) -> Done:
    """Train up to `settings.sft.steps`, from the newest checkpoint in the folder `run` where there is one.

    Metrics, pictures and checkpoints go into `run`. Raises TrainingError where the loss is no longer a number (the last
    checkpoint stays), or a checkpoint cannot be written; DataError as `training.dataset.batches` does.
    """
    sft = settings.sft
    accelerator = _accelerator(run, sft)
    weights = learning_weights(backbone, sft)
    optimizer = torch.optim.AdamW(weights, sft.rate, betas=(0.9, 0.99), weight_decay=sft.weight_decay)
    mean = RunningMean(backbone.transformer, sft.ema) if sft.ema else None
    step, state = _resumed(run, backbone, optimizer, mean)
    advance(step, "")
    cache = Cache(run / "cache", backbone) if sft.cache else None
    journal = Journal(run, after=step) if accelerator.is_main_process else None
    trained = _Trained(run, settings, accelerator, backbone, backbone.transformer, optimizer, mean)
    backbone.transformer, optimizer = accelerator.prepare(backbone.transformer, optimizer)
    due = False
    began = time.perf_counter()
    try:
        rank, world = accelerator.process_index, accelerator.num_processes
        for batch in batches(split, settings.data, settings.seed, state, rank, world):
            if step >= sft.steps:
                break
            rate = scheduled(sft, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _accumulated(accelerator, backbone, settings, batch, step, cache)
            norm = float(accelerator.clip_grad_norm_(weights, sft.clip))
            _refuse_ruin(run, step, loss, norm)
            if due:  # only now it is known that what was learnt then is good
                _keep(trained, step, state)
            optimizer.step()
            optimizer.zero_grad()
            if mean:
                mean.update(trained.transformer)
            step, state = step + 1, batch.state
            due = step % settings.checkpoints.every == 0
            if journal:
                seconds = time.perf_counter() - began
                journal.write(step, loss=loss, rate=rate, norm=norm, seconds=seconds, substitutes=batch.substitutes)
            advance(1, f"loss {loss:.4f}")
            began = time.perf_counter()
            if step == sft.steps or step % settings.validation.every == 0:
                _try(trained, held_out, journal, step)
            if step == sft.steps:
                _keep(trained, step, state)
            del batch  # its memory is wanted for the next
    finally:
        backbone.transformer = trained.transformer
        if journal:
            journal.close()
    if mean:
        bear(trained.transformer, mean.weights)  # what is handed back is what was kept
    return Done(step, next((line["validation"] for line in reversed(read_metrics(run)) if "validation" in line), {}))


def _accelerator(run: Path, sft: Sft) -> Accelerator:
    accelerator = Accelerator(mixed_precision=sft.precision, cpu=not torch.cuda.is_available())
    if accelerator.distributed_type not in PARALLEL:
        raise TrainingError(
            f"run {run}: {accelerator.distributed_type.value} is not known here; launch processes that each hold the "
            "whole model (accelerate launch --multi_gpu)"
        )
    return accelerator


def _refuse_ruin(run: Path, step: int, loss: float, norm: float) -> None:
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise TrainingError(
            f"run {run}: at step {step + 1} the loss is {loss}, its gradient {norm}; the checkpoint before is kept: "
            "begin another run with a lower sft.rate, or with sft.precision=no"
        )


def learning_weights(backbone: Backbone, sft: Sft) -> list[nn.Parameter]:
    """Return what learns of a backbone: LoRA beside its layers, or all of its transformer."""
    transformer = backbone.transformer
    if sft.checkpointing:
        transformer.enable_gradient_checkpointing()  # type: ignore[operator]
    if hasattr(transformer, "peft_config"):  # loaded with what has learnt before
        return [weight for weight in transformer.parameters() if weight.requires_grad]
    if not sft.lora and any(weight.dtype != torch.float32 for weight in transformer.parameters()):
        raise SettingsError(
            "setting sft.lora: 0 lets all weights learn, which takes float32: set dtype of the backbone"
        )
    if sft.lora:
        return add_lora(transformer, backbone.lora_targets, sft.lora, sft.lora)
    return list(transformer.requires_grad_().parameters())


def scheduled(sft: Sft, step: int) -> float:
    """Return the rate of a step, counted from 0: it rises in a line, then stays, or falls as a cosine to nothing."""
    warm = min(1.0, (step + 1) / max(1, sft.warmup))
    done = max(0, step - sft.warmup) / max(1, sft.steps - sft.warmup)
    return sft.rate * warm * (0.5 * (1 + math.cos(math.pi * done)) if sft.decay == "cosine" else 1.0)


def noise_of(seed: int, step: int, keys: Sequence[str], shape: Sequence[int]) -> Tensor:
    """Return standard normal noise, float32 (B, *shape), each sample's own at each step."""
    drawn = [stream(seed, "noise", step, key).standard_normal(tuple(shape), np.float32) for key in keys]
    return torch.from_numpy(np.stack(drawn))


def sigmas_of(sft: Sft, seed: int, step: int, keys: Sequence[str]) -> Tensor:
    """Return noise levels within 0..1, float32 (B,): as `training.flow.draw_sigmas`, but each sample's own."""
    drawn = [stream(seed, "sigma", step, key).normal(sft.sigma_mean, sft.sigma_std) for key in keys]
    return shifted(torch.sigmoid(torch.tensor(drawn, dtype=torch.float32)), sft.sigma_shift)


def losses(backbone: Backbone, settings: Training, batch: Batch, step: int, cache: Cache | None = None) -> Tensor:
    """Return the loss of each sample of a batch, float32 (B,)."""
    sft, device = settings.sft, next(backbone.transformer.parameters()).device
    input, target, reference = (_pictures(one, device) for one in (batch.input, batch.target, batch.reference))
    encode: Callable[[Tensor], Tensor] = cache.latents if cache else backbone.encode
    clean, draft = encode(target), encode(input)  # (B, C, h, w)
    seen = None if settings.blind else encode(reference)
    shown = [input] if settings.blind else [input, reference]
    text: Text = cache.prompt(batch.instructions, shown) if cache else backbone.prompt(batch.instructions, shown)
    noise = noise_of(settings.seed, step, batch.keys, clean.shape[1:]).to(device)
    sigma = sigmas_of(sft, settings.seed, step, batch.keys).to(device)
    noisy = mix(clean, noise, sigma)
    velocity = backbone.velocity(noisy.to(clean.dtype), draft, seen, text, sigma)
    mask = batch.mask.to(device)
    weight = shrink(mask if sft.mask else torch.zeros_like(mask), *clean.shape[2:])
    if sft.loss == "velocity":
        return masked_loss(velocity, noise - clean, weight)
    found = noisy - sigma.view(-1, 1, 1, 1) * velocity.float()  # what the velocity says the clean latents are
    return masked_loss(found, clean, weight)


def _pictures(pixels: Tensor, device: torch.device) -> Tensor:
    """Return uint8 pictures as float32, 0..1."""
    return pixels.to(device).float() / 255


def _accumulated(
    accelerator: Accelerator, backbone: Backbone, settings: Training, batch: Batch, step: int, cache: Cache | None
) -> float:
    """Leave a batch's gradient with the weights, some samples at a time; return its mean loss over all processes."""
    rows = len(batch.keys)
    parts = list(_parts(batch, settings.sft.at_once))
    total = torch.zeros((), device=accelerator.device)
    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        with accelerator.autocast(), _alone(accelerator, backbone.transformer, last):
            loss = losses(backbone, settings, part, step, cache).sum() / rows
            accelerator.backward(loss)
        total += loss.detach()
    return float(accelerator.reduce(total, "mean").item())


def _alone(accelerator: Accelerator, model: nn.Module, last: bool) -> Any:
    """Return a context in which processes do not exchange gradients, but for the last part of a batch."""
    return nullcontext() if last else accelerator.no_sync(model)


def _parts(batch: Batch, at_once: int) -> Iterator[Batch]:
    for start in range(0, len(batch.keys), at_once):
        rows = slice(start, start + at_once)
        yield Batch(
            batch.keys[rows], batch.instructions[rows], batch.input[rows], batch.target[rows], batch.mask[rows],
            batch.reference[rows], batch.state, batch.substitutes,
        )  # fmt: skip


def _resumed(
    run: Path, backbone: Backbone, optimizer: torch.optim.Optimizer, mean: RunningMean | None
) -> tuple[int, State]:
    found = kept.newest(run)
    if found is None:
        return 0, State()
    kept.restore(found, backbone.transformer, optimizer, mean)
    return found.step, found.state


def _keep(trained: _Trained, step: int, state: State) -> None:
    """Keep what was learnt, in the first process, while the others wait."""
    if trained.accelerator.is_main_process:
        with _as_it_is(trained):
            kept.keep(trained.run, step, state, trained.backbone, trained.settings, trained.optimizer, trained.mean)
    trained.accelerator.wait_for_everyone()


def _try(trained: _Trained, held_out: Split | None, journal: Journal | None, step: int) -> None:
    """Try what was learnt on what is held out, in the first process, while the others wait."""
    if journal and held_out:
        mean, settings = trained.mean, trained.settings
        with _as_it_is(trained), mean.lend(trained.transformer) if mean else nullcontext():
            journal.validated(step, validate(trained.backbone, settings, held_out), settings.validation.shown)
    trained.accelerator.wait_for_everyone()


@contextmanager
def _as_it_is(trained: _Trained) -> Iterator[None]:
    """Let the backbone bear its transformer as it is, not as it was prepared for several processes."""
    prepared, trained.backbone.transformer = trained.backbone.transformer, trained.transformer
    try:
        yield
    finally:
        trained.backbone.transformer = prepared
