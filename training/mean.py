"""The running mean of weights that learn: steadier than the weights themselves, it is what is tried and kept."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from training.sharded import part


class RunningMean:
    """mean <- decay mean + (1 - decay) weights, after each step; at first faster, so that no early weights linger."""

    def __init__(self, transformer: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: weight.detach().float().clone() for name, weight in learning_in(transformer)}

    @torch.no_grad()
    def update(self, transformer: nn.Module) -> None:
        """Take the weights as they are now into the mean."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, weight in learning_in(transformer):
            self.weights[name].lerp_(weight.float(), 1 - decay)

    def lend(self, transformer: nn.Module) -> AbstractContextManager[None]:
        """Let a transformer bear the mean for as long as the block lasts."""
        return lent(transformer, self.weights)


def learning_of(transformer: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights that learn, by name."""
    return {name: weight.detach().clone().contiguous() for name, weight in learning_in(transformer)}


@contextmanager
def lent(transformer: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Let a transformer bear other weights for as long as the block lasts."""
    own = learning_of(transformer)
    bear(transformer, weights)
    try:
        yield
    finally:
        bear(transformer, own)


@torch.no_grad()
def bear(transformer: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give a transformer's weights the values named."""
    named = dict(transformer.named_parameters())
    for name, value in weights.items():
        named[name].copy_(part(value, named[name]))


def learning_in(transformer: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Return the weights that learn themselves, each with its name."""
    return ((name, weight) for name, weight in transformer.named_parameters() if weight.requires_grad)
