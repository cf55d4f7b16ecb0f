"""Pictures have values 0..1: what lies beyond is cut off, and still learns to come back."""

from typing import Any

import torch
from torch import Tensor


def within(pictures: Tensor) -> Tensor:
    """Return pictures cut to 0..1, their gradient as if they had not been.

    A pixel that is cut would else have no gradient and stay beyond, though its error against the truth is seen.
    """
    cut: Tensor = _Cut.apply(pictures)  # type: ignore[no-untyped-call]  # torch's own
    return cut


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor) -> Tensor:
        return pictures.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient
