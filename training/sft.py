"""Supervised fine-tuning: a backbone learns the way from noise to the target, given draft, reference and instruction.

    x_sigma = (1 - sigma) target + sigma noise
    loss = masked |v(x_sigma, draft, reference, words) - (noise - target)|^2

Noise and its level are keyed by seed, step and sample: a run is the same however many processes share it, and goes on
from a checkpoint as if it had not stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from schemas.ids import stream
from schemas.training import Sft, Training
from training.backbones import Backbone
from training.cached import Cache
from training.dataset import Batch, Split
from training.flow import masked_loss, mix, shifted, shrink
from training.loop import Advance, Done, Figures, Learner, in_turn, learn, let_learn
from training.lora import add_lora
from training.seeds import seeded
from training.sharded import share_out
from training.shown import Encoder, pictures, show


def train(
    run: Path,
    backbone: Backbone,
    settings: Training,
    split: Split,
    held_out: Split | None,
    advance: Advance = lambda steps, note: None,
) -> Done:
    """Fine-tune up to `settings.sft.steps`; see `training.loop.learn`."""
    sft = settings.sft
    if sft.lora and not hasattr(backbone.transformer, "peft_config"):
        seeded(settings.seed)  # the same in every process
        add_lora(backbone.transformer, backbone.lora_targets, sft.lora, sft.lora)
    cache = Cache(run / "cache", backbone) if sft.cache else None

    def gradients(learner: Learner, batch: Batch, step: int, figures: Figures) -> Iterator[float]:
        yield _accumulated(learner, batch, step, cache)

    let_learn(backbone, sft)
    if sft.sharded:
        share_out(backbone.transformer, bf16=sft.precision == "bf16")
    return learn(run, backbone, settings, sft, split, held_out, gradients, advance=advance)


def noise_of(seed: int, step: int, keys: Sequence[str], shape: Sequence[int]) -> Tensor:
    """Return standard normal noise, float32 (B, *shape), each sample's own at each step."""
    drawn = [stream(seed, "noise", step, key).standard_normal(tuple(shape), np.float32) for key in keys]
    return torch.from_numpy(np.stack(drawn))


def sigmas_of(sft: Sft, seed: int, step: int, keys: Sequence[str]) -> Tensor:
    """Return noise levels to train at, float32 (B,), within 0..1, both ends apart, each sample's own.

    Logit-normal as in Stable Diffusion 3 (Esser et al. 2024, section 3.1), then shifted towards noise.
    """
    drawn = [stream(seed, "sigma", step, key).normal(sft.sigma_mean, sft.sigma_std) for key in keys]
    return shifted(torch.sigmoid(torch.tensor(drawn, dtype=torch.float32)), sft.sigma_shift)


def losses(backbone: Backbone, settings: Training, batch: Batch, step: int, cache: Cache | None = None) -> Tensor:
    """Return the loss of each sample of a batch, float32 (B,)."""
    sft, device = settings.sft, next(backbone.transformer.parameters()).device
    encoder: Encoder = cache or backbone
    input, target, reference = (pictures(one, device) for one in (batch.input, batch.target, batch.reference))
    shown = show(encoder, settings.blind, batch.instructions, input, reference)
    clean = encoder.encode(target)  # (B, C, h, w)
    noise = noise_of(settings.seed, step, batch.keys, clean.shape[1:]).to(device)
    sigma = sigmas_of(sft, settings.seed, step, batch.keys).to(device)
    noisy = mix(clean, noise, sigma)
    velocity = shown.velocity(backbone, noisy.to(clean.dtype), sigma)
    mask = batch.mask.to(device) if sft.mask else torch.zeros_like(batch.mask, device=device)
    weight = shrink(mask, *clean.shape[2:])
    draft, truth = shown.draft, clean
    found = noisy - sigma.view(-1, 1, 1, 1) * velocity.float()  # what the velocity says the clean latents are
    match sft.loss:
        case "velocity":
            loss = masked_loss(velocity, noise - clean, weight)
        case "latent":
            loss = masked_loss(found, clean, weight)
        case "pixel":
            draft, truth, weight = input, target, mask.float()
            loss = masked_loss(_decoded(backbone, found, keep=not sft.checkpointing), target, weight)
    if not sft.relative:
        return loss
    return loss * sft.relative / (sft.relative + masked_loss(draft, truth, weight))


def _decoded(backbone: Backbone, latents: Tensor, *, keep: bool) -> Tensor:
    """Return pictures of latents; unless all that lies between is kept, one by one, and computed anew for gradients."""
    if keep:
        return backbone.decode(latents)
    return torch.cat([checkpoint(backbone.decode, one[None], use_reentrant=False) for one in latents])


def _accumulated(learner: Learner, batch: Batch, step: int, cache: Cache | None) -> float:
    """Leave a batch's gradient with the weights, some samples at a time; return its mean loss over all processes."""
    accelerator, rows = learner.accelerator, len(batch.keys)
    parts = list(_parts(batch, learner.learning.at_once))
    total = torch.zeros((), device=accelerator.device)
    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        with accelerator.autocast(), in_turn(learner, last):
            loss = losses(learner.backbone, learner.settings, part, step, cache).sum() / rows
            accelerator.backward(loss)
        total += loss.detach()
    return float(accelerator.reduce(total, "mean").item())


def _parts(batch: Batch, at_once: int) -> Iterator[Batch]:
    for start in range(0, len(batch.keys), at_once):
        rows = slice(start, start + at_once)
        yield Batch(
            batch.keys[rows], batch.instructions[rows], batch.input[rows], batch.target[rows], batch.mask[rows],
            batch.reference[rows], batch.state, batch.substitutes,
        )  # fmt: skip
