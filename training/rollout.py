"""Groups of samples of one prompt, and what is needed to learn from how they came about.

A prompt's samples share their first noise and the certain steps up to a window; in the window each takes stochastic
steps of its own, then certain ones again (MixGRPO, Li et al. 2025; Flow-GRPO-Fast). Only the window is learnt from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from schemas.ids import stream
from schemas.training import Grpo
from training.backbones import Backbone
from training.sde import STEPS, Step, log_prob
from training.shown import Shown


@dataclass(frozen=True)
class Prompts:
    """What is asked of a policy: what it is shown of B prompts, and which latent cells vary, bool (B, 1, h, w)."""

    shown: Shown
    varied: Tensor

    def rows(self, chosen: Tensor) -> "Prompts":
        """Return some rows of it, each as often as it is named."""
        return Prompts(self.shown.rows(chosen), self.varied[chosen])


@dataclass(frozen=True)
class Taken:
    """A stochastic step that N samples took: from `x` at level `now` to `reached` at `next`, (N, C, h, w) float32.

    `parting`: the first of its window, where all samples of a prompt stand at one place. Its `log_prob` (N, h, w) and
    `mean` are those of the policy that took it.
    """

    parting: bool
    now: float
    next: float
    x: Tensor
    reached: Tensor
    log_prob: Tensor
    mean: Tensor
    std: float


@dataclass(frozen=True)
class Rollout:
    """What N samples came to, latents (N, C, h, w), and the steps that they took in the window."""

    latents: Tensor
    taken: tuple[Taken, ...]


def draw_window(grpo: Grpo, seed: int, step: int) -> range:
    """Return the sampler's steps that are stochastic in a batch: a stream of its own, the same for every process."""
    first, end = grpo.within
    start = int(stream(seed, "window", step).integers(first, end - grpo.window + 1))
    return range(start, start + grpo.window)


def step_of(
    backbone: Backbone, prompts: Prompts, of: Tensor, grpo: Grpo, x: Tensor, now: float, next: float, parting: bool
) -> Step:
    """Return the Gaussian of a stochastic step from `x` (N, C, h, w), as the backbone takes it now.

    `of` (N,) names each sample's prompt, in rising order. Where samples are `parting`, the backbone is asked once for
    all that stand at one place: a window of the last step alone costs a group what one sample costs. Cells that do not
    vary are to go the certain way.
    """
    if parting:
        first = torch.ones_like(of, dtype=torch.bool)  # of its prompt's samples
        first[1:] = of[1:] != of[:-1]
        step = step_of(backbone, prompts, of[first], grpo, x[first.to(x.device)], now, next, False)
        return Step(step.mean[(first.cumsum(0) - 1).to(x.device)], step.std)
    here = prompts.rows(of)
    velocity = here.shown.velocity(backbone, x.to(here.shown.draft.dtype), x.new_full((len(x),), now))
    return _gaussian(grpo, here.varied, x, velocity, now, next)


def clean_of(prompts: Prompts, of: Tensor, grpo: Grpo, mean: Tensor, taken: Taken) -> Tensor:
    """Return the clean latents that the velocity led to, (N, C, h, w), given a step's `mean`, of its shape.

    The step `taken` by samples `of` (N,) prompts: its mean rises in a line with the clean latents.
    """
    x, now = taken.x, taken.now
    origin, unit = (
        _gaussian(grpo, prompts.varied[of], x, (x - clean) / now, now, taken.next).mean for clean in (0.0, 1.0)
    )
    return (mean - origin) / (unit - origin)


def _gaussian(grpo: Grpo, varied: Tensor, x: Tensor, velocity: Tensor, now: float, next: float) -> Step:
    step = STEPS[grpo.sde](x, velocity, now, next, grpo.noise)
    return Step(step.mean.where(varied, x + velocity.float() * (next - now)), step.std)


@torch.no_grad()
def trunk(
    backbone: Backbone, shown: Shown, levels: Tensor, window: range, keys: Sequence[str], seed: int, step: int
) -> Tensor:
    """Return where prompts (B) are when the window begins, (B, C, h, w), by certain steps from noise of their own."""
    noise = [stream(seed, "trunk", step, key).standard_normal(shown.draft.shape[1:], np.float32) for key in keys]
    return _walk(backbone, shown, torch.from_numpy(np.stack(noise)).to(shown.draft.device), levels[: window.start + 1])


@torch.no_grad()
def branch(
    backbone: Backbone, prompts: Prompts, of: Tensor, grpo: Grpo, levels: Tensor, window: range, x: Tensor,
    names: Sequence[str], seed: int, step: int,
) -> Rollout:  # fmt: skip
    """Return N samples `of` prompts that part from `x` (N, C, h, w), where the window begins.

    Chance is keyed by their names.
    """
    taken = []
    for number, (now, next) in enumerate(pairwise(levels[window.start : window.stop + 1].tolist())):
        gaussian = step_of(backbone, prompts, of, grpo, x, now, next, number == 0)
        drawn = [stream(seed, "sde", step, number, name).standard_normal(x.shape[1:], np.float32) for name in names]
        noise = torch.from_numpy(np.stack(drawn)).to(x.device) * prompts.varied[of]
        reached = gaussian.mean + gaussian.std * noise
        likely = log_prob(grpo.sde, gaussian, reached)
        taken.append(Taken(number == 0, now, next, x, reached, likely, gaussian.mean, gaussian.std))
        x = reached
    shown = prompts.shown.rows(of)
    latents = _walk(backbone, shown, x, levels[window.stop :])
    return Rollout(latents.to(shown.draft.dtype), tuple(taken))


def _walk(backbone: Backbone, shown: Shown, x: Tensor, levels: Tensor) -> Tensor:
    for now, next in pairwise(levels.tolist()):
        velocity = shown.velocity(backbone, x.to(shown.draft.dtype), x.new_full((len(x),), now))
        x = x + velocity.float() * (next - now)
    return x
