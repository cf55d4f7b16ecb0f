"""What has learnt is tried on products that are held out: refined drafts beside the drafts as they were.

Of each sample the crop is refined that training would see, always the same, from noise of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.ids import stream
from schemas.records import Mask, Pixels
from schemas.training import Training
from tasks.engines.embed import object_vector
from tasks.engines.likeness import psnr
from training.backbones import Backbone
from training.dataset import Batch, Split, once
from training.flow import sample, schedule
from training.shown import pictures, show

Refiner = Callable[[Batch], Tensor]  # float32 (B, 3, H, W), 0..1
Score = Callable[[Tensor, Batch], dict[str, Tensor]]  # of such pictures, by name: (B,)

CHANCE = 0  # seed of crops and noise: runs of any seed are tried on the same


@dataclass(frozen=True)
class Tried:
    """A sample that was refined: its key, its figures, and input, reference, refined and target side by side."""

    key: str
    figures: Mapping[str, float]
    pictures: tuple[Pixels, ...]


@dataclass(frozen=True)
class Found:
    """A validation: means over samples, and the samples."""

    figures: dict[str, float]
    samples: tuple[Tried, ...]


def validate(refine: Refiner, settings: Training, held_out: Split, score: Score | None = None) -> Found:
    """Refine what is held out, and measure it; `refine` may be anything that takes a batch.

    `psnr`: masked, in dB, of the refined crop, `psnr_input` of the draft, `gain` their difference. `likeness`: cosine
    of what a network sees within the mask, and `likeness_input`. `background`: PSNR outside the mask, nothing being
    pasted back. What `score` returns of refined and draft (`_input`) stands beside.
    """
    wanted = min(settings.validation.samples, held_out.samples)
    data = settings.data.model_copy(update={"batch": min(settings.validation.batch, wanted)})
    middle = sum(data.margin) / 2
    data = data.model_copy(
        update={"margin": (middle, middle), "jitter": False, "keep": 0, "workers": min(1, data.workers)}
    )
    samples: list[Tried] = []
    for batch in once(held_out, data, CHANCE):
        samples += islice(_tried(refine, batch, score), wanted - len(samples))
        del batch
        if len(samples) == wanted:
            break
    names = sorted({name for one in samples for name in one.figures})
    means = {name: float(np.mean([one.figures[name] for one in samples if name in one.figures])) for name in names}
    return Found(means, tuple(samples))


@torch.no_grad()
def refined(backbone: Backbone, settings: Training, batch: Batch) -> Tensor:
    """Return the refined inputs of a batch, float32 (B, 3, H, W), 0..1. Noise is each sample's own, by its key."""
    device = next(backbone.transformer.parameters()).device
    input, reference = (pictures(one, device) for one in (batch.input, batch.reference))
    shown = show(backbone, settings.blind, batch.instructions, input, reference)
    drawn = [stream(CHANCE, "refine", key).standard_normal(shown.draft.shape[1:], np.float32) for key in batch.keys]
    noise = torch.from_numpy(np.stack(drawn)).to(shown.draft.dtype).to(device)
    levels = schedule(settings.refine.steps, settings.refine.shift)
    return backbone.decode(sample(lambda x, sigma: shown.velocity(backbone, x, sigma), noise, levels))


def _tried(refine: Refiner, batch: Batch, score: Score | None) -> list[Tried]:
    refined = refine(batch)
    outputs = as_pixels(refined)
    inputs, targets, references = (one.permute(0, 2, 3, 1).cpu().numpy() for one in (
        batch.input, batch.target, batch.reference
    ))  # fmt: skip
    masks = batch.mask[:, 0].cpu().numpy()
    scores: dict[str, Tensor] = {}
    if score:
        before = score(pictures(batch.input, refined.device), batch)
        scores = score(refined, batch) | {f"{name}_input": value for name, value in before.items()}
    tried = []
    for row, key in enumerate(batch.keys):
        shown = tuple(np.ascontiguousarray(one[row]) for one in (inputs, references, outputs, targets))
        figures = _figures(shown[0], shown[2], shown[3], masks[row])
        tried.append(Tried(key, figures | {name: float(value[row]) for name, value in scores.items()}, shown))
    return tried


def _figures(input: Pixels, output: Pixels, target: Pixels, mask: Mask) -> dict[str, float]:
    figures: dict[str, float] = {}
    if mask.any():
        within = mask.astype(np.float32)
        wanted = object_vector(target, within)
        for name, one in (("", output), ("_input", input)):
            figures[f"psnr{name}"] = psnr(one, target, mask)
            figures[f"likeness{name}"] = float(object_vector(one, within) @ wanted)
        figures["gain"] = figures["psnr"] - figures["psnr_input"]
    if not mask.all():
        figures["background"] = psnr(output, target, ~mask)
    return figures


def as_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures as (B, H, W, 3) uint8; what is not a number is black."""
    values = torch.nan_to_num(pictures.float(), nan=0.0).clamp(0, 1).permute(0, 2, 3, 1)
    return np.asarray((values * 255).round().to(torch.uint8).cpu().numpy())
