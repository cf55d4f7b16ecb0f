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
class Draft:
    """What a sample is before it is refined: its figures, and the unit vector (1280,) float32 that is wanted.

    Nothing is wanted where the mask is empty.
    """

    figures: Mapping[str, float]
    wanted: NDArray[np.float32] | None


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


def validate(
    refine: Refiner,
    settings: Training,
    held_out: Split,
    score: Score | None = None,
    drafts: dict[str, Draft] | None = None,
) -> Found:
    """Refine what is held out, and measure it; `refine` may be anything that takes a batch.

    Drafts are the same each time: `drafts`, by sample, is filled the first time and spares their part of the next.

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
    drafts = {} if drafts is None else drafts
    samples: list[Tried] = []
    for batch in once(held_out, data, CHANCE):
        samples += islice(_tried(refine, batch, score, drafts), wanted - len(samples))
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


def _tried(refine: Refiner, batch: Batch, score: Score | None, drafts: dict[str, Draft]) -> list[Tried]:
    refined = refine(batch)
    if not drafts.keys() >= set(batch.keys):
        drafts |= _drafts(batch, score and score(pictures(batch.input, refined.device), batch))
    scores = score(refined, batch) if score else {}
    outputs = as_pixels(refined)
    inputs, targets, references = (_rows(one) for one in (batch.input, batch.target, batch.reference))
    masks = batch.mask[:, 0].cpu().numpy()
    tried = []
    for row, key in enumerate(batch.keys):
        figures = _figures(outputs[row], targets[row], masks[row], drafts[key])
        shown = tuple(np.ascontiguousarray(one[row]) for one in (inputs, references, outputs, targets))
        tried.append(Tried(key, figures | {name: float(value[row]) for name, value in scores.items()}, shown))
    return tried


def _drafts(batch: Batch, scores: Mapping[str, Tensor] | None) -> dict[str, Draft]:
    """Return what the samples of a batch are before they are refined, by sample."""
    inputs, targets, masks = _rows(batch.input), _rows(batch.target), batch.mask[:, 0].cpu().numpy()
    drafts = {}
    for row, key in enumerate(batch.keys):
        figures = {f"{name}_input": float(value[row]) for name, value in (scores or {}).items()}
        wanted = None
        if masks[row].any():
            wanted = object_vector(targets[row], masks[row].astype(np.float32))
            figures["psnr_input"] = psnr(inputs[row], targets[row], masks[row])
            figures["likeness_input"] = _likeness(inputs[row], masks[row], wanted)
        drafts[key] = Draft(figures, wanted)
    return drafts


def _figures(output: Pixels, target: Pixels, mask: Mask, draft: Draft) -> dict[str, float]:
    figures = dict(draft.figures)
    if draft.wanted is not None:
        figures["psnr"] = psnr(output, target, mask)
        figures["likeness"] = _likeness(output, mask, draft.wanted)
        figures["gain"] = figures["psnr"] - figures["psnr_input"]
    if not mask.all():
        figures["background"] = psnr(output, target, ~mask)
    return figures


def _likeness(picture: Pixels, mask: Mask, wanted: NDArray[np.float32]) -> float:
    return float(object_vector(picture, mask.astype(np.float32)) @ wanted)


def _rows(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures (B, 3, H, W) as (B, H, W, 3)."""
    rows: NDArray[np.uint8] = pictures.permute(0, 2, 3, 1).cpu().numpy()
    return rows


def as_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures as (B, H, W, 3) uint8; what is not a number is black."""
    values = torch.nan_to_num(pictures.float(), nan=0.0).clamp(0, 1).permute(0, 2, 3, 1)
    return np.asarray((values * 255).round().to(torch.uint8).cpu().numpy())
