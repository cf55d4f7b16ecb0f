"""Pictures have values 0..1: what lies beyond is cut off, and still learns to come back."""

from torch import Tensor


def within(pictures: Tensor) -> Tensor:
    """Return pictures cut to 0..1, their gradient as if they had not been.

    A pixel that is cut would else have no gradient and stay beyond, though its error against the truth is seen.
    """
    return pictures.detach().clamp(0, 1) + (pictures - pictures.detach())
