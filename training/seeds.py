"""Chance that libraries draw for themselves: weights that have not learnt yet, LoRA among them."""

import torch

from schemas.ids import stream


def seeded(seed: int) -> None:
    """Let torch begin from a seed of a run."""
    torch.manual_seed(int(stream(seed, "weights").integers(2**63)))
