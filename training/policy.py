"""What is made of rewards: advantages within a group, and the objective that clips how far the policy goes for them.

J = J_clip - beta KL(pi || pi_old), as in the paper; each formula is one function, over plain tensors. What is lost
outside the mask is a constraint rather than a reward (ours): its weight follows what is lost, as a Lagrange multiplier
does (Boyd et al. 2011, section 2.1, dual ascent; here of the weight's logarithm).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FURTHEST = 5.0  # of an advantage, either way
SOFT = 1e-4  # added to a standard deviation that is divided by
EQUAL = 1e-6  # standard deviation below which a group's rewards tell nothing
LEAST = 5e-6  # squared error of latents from -1 to 1 that eight bits do not tell
LATELY = 5  # steps
OF_LATE, IN_ALL = 4.0, 0.1  # by which powers of e a weight follows what was lost lately, and in all
REACH = 3.0  # of that power, either way


def advantages(rewards: Tensor, weights: Tensor, spread: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return advantages (B, G), and which groups are learnt from: bool (B,).

    `rewards` (R, B, G) of R kinds are brought each to mean 0 within their group and divided by their standard deviation
    there, or by `spread` (R,), one for each kind; then their mean is taken by `weights`, (R,) or (R, B), a group's own.
    A group of which a reward is no number, or all rewards that count are equal, is left out: its advantages are 0.
    """
    sound = torch.isfinite(rewards).all(dim=2).all(dim=0)  # (B,)
    rewards = torch.where(sound[None, :, None], rewards, 0).float()
    within = rewards.std(dim=2, keepdim=True, correction=0)  # (R, B, 1)
    divisor = within if spread is None else spread.view(-1, 1, 1)
    each = (rewards - rewards.mean(dim=2, keepdim=True)) / (divisor + SOFT)
    weights = weights.view(len(rewards), -1)
    total = weights.sum(dim=0)
    counted = weights / torch.where(total > 0, total, 1)  # (R, B)
    learnt = sound & ((within[..., 0] > EQUAL) & (weights > 0)).any(dim=0)
    weighed = (each * counted[..., None]).sum(dim=0).clamp(-FURTHEST, FURTHEST)  # (B, G)
    return weighed * learnt[:, None], learnt


def clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return the loss max(-A rho, -A clip(rho, 1 - clip, 1 + clip)) of each ratio, in its shape."""
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


def losses(
    ratio: Tensor, advantage: Tensor, shares: Tensor, apart: Tensor, clip: float, beta: float, per: float
) -> Tensor:
    """Return -J of each sample, (N,): its patches' clipped losses by their shares, and beta times divergence.

    `ratio`, `advantage`, `shares` are (N, P), `apart` is (N,). The clipped losses are divided by `per`: 1, or
    GRPO-Guard's -dt.
    """
    return (clipped(ratio, advantage, clip) * shares).sum(dim=1) / per + beta * apart


def divergence(mean: Tensor, other: Tensor, std: float) -> Tensor:
    """Return KL between two Gaussians of one standard deviation (N, C, h, w), the mean at each cell: (N, h, w)."""
    return (mean - other).square().mean(dim=1) / (2 * std**2)


def error(latents: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Return the mean squared error of latents (N, C, h, w) over some cells, bool (N, h, w): (N,), 0 over none."""
    each = (latents - truth).square().mean(dim=1) * where
    return each.sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


def lost(now: Tensor, before: Tensor) -> Tensor:
    """Return by how much errors have grown, the logarithm of their quotient, in their shape; 0.23 is one dB."""
    return ((now + LEAST) / (before + LEAST)).log()


def weight_after(weight: float, lost: Sequence[float]) -> float:
    """Return what becomes of a `weight`, given what was lost at each step so far.

    Its logarithm follows what was lost lately and what was lost in all (PID Lagrangian, Stooke et al. 2020), within
    `REACH` of what it was, and so does its part of what was lost in all: else it would take as long to come back.
    """
    in_all = 0.0
    for one in lost:
        in_all = _within_reach(in_all + IN_ALL * one)
    lately = lost[-LATELY:]
    return weight * math.exp(_within_reach(in_all + OF_LATE * sum(lately) / max(1, len(lately))))


def _within_reach(power: float) -> float:
    return max(-REACH, min(REACH, power))


def plain_ratio(rise: Tensor) -> Tensor:
    """Return how much likelier the policy now is to do what the old one did, by the rise of its log-prob."""
    return torch.exp(rise)


def guarded_ratio(rise: Tensor, apart: Tensor, std: float) -> Tensor:
    """Return GRPO-Guard's ratio (Wang et al. 2025): rid of its bias below 1, and of its dependence on the level.

    rho = exp((rise of the log-prob + b) std), b how far `apart` from the old policy it is, by divergence. Its loss is
    divided by -dt besides (`losses`).
    """
    return torch.exp((rise + apart) * std)
