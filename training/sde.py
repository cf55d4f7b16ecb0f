"""Sampling with chance: one step from a noise level to the next lower one, as a Gaussian whose density is known.

An Euler step along the velocity is certain; what a policy may learn from is how likely it was to do what it did. Both
steps here add noise of their own and keep the marginals of the certain way, but that Flow-GRPO's, where it is the last
one, leaves noise in the picture. Computed in float32.
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """A step's Gaussian: its mean (B, C, h, w), float32, and the standard deviation of each of its values."""

    mean: Tensor
    std: float


def flow_step(x: Tensor, velocity: Tensor, now: float, next: float, noise: float) -> Step:
    """Return Flow-GRPO's step from level `now` to the lower `next` (Liu et al. 2025, equation 9), noise level 0 upward.

    s = noise sqrt(now / (1 - now)); at now = 1 the denominator takes the next level.
    """
    x, velocity, ahead = x.float(), velocity.float(), next - now  # ahead < 0
    s = noise * math.sqrt(now / (1 - (next if now == 1 else now)))
    mean = x * (1 + s**2 / (2 * now) * ahead) + velocity * (1 + s**2 * (1 - now) / (2 * now)) * ahead
    return Step(mean, s * math.sqrt(-ahead))


def cps_step(x: Tensor, velocity: Tensor, now: float, next: float, noise: float) -> Step:
    """Return the coefficient preserving step (Wang and Yu 2025, Flow-CPS), noise level 0..1.

    What it adds replaces as much of the noise that is there: no more of it is left than the level says.
    """
    x, velocity = x.float(), velocity.float()
    s = next * math.sin(noise * math.pi / 2)
    clean, pure = x - now * velocity, x + (1 - now) * velocity
    return Step((1 - next) * clean + math.sqrt(next**2 - s**2) * pure, s)


STEPS = {"flow": flow_step, "cps": cps_step}


def log_prob(sde: Literal["flow", "cps"], step: Step, reached: Tensor) -> Tensor:
    """Return how likely a step was to reach (B, C, h, w): at each cell the MEAN of its log densities, (B, h, w).

    Means of these change little from policy to policy: ratios are clipped at 1e-4 or less. CPS leaves out the scale.
    """
    squared = (reached.float() - step.mean).square().mean(dim=1)
    if sde == "cps":
        return -squared
    return -squared / (2 * step.std**2) - math.log(step.std * math.sqrt(2 * math.pi))
