"""From pixels to tokens and back: how `tiny` looks closely at what draft and reference show at the same place.

A token stands for too many pixels to say of each whether it is right. Convolutions lay the two pictures side by side,
level by level down to the grid of tokens; what the tokens say is led up the same levels again (Ronneberger et al. 2015,
U-Net).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CELL = 2  # places of the latents, each way, that the finest level takes as one: a quarter of the work


class Down(nn.Module):
    """Look at draft and reference, each level at half the resolution, until a place spans a token of patch x patch."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.cell = min(CELL, patch)
        count = (patch // self.cell).bit_length()
        self.widths = [*(min(width // 4 << level, width) for level in range(count - 1)), width]
        self.levels = nn.ModuleList([_level(3 * channels * self.cell**2, self.widths[0])])
        self.levels.extend(_level(*pair, stride=2) for pair in pairwise(self.widths))

    def forward(self, draft: Tensor, beside: Tensor) -> list[Tensor]:
        """Return what is seen in two pictures (B, C, h, w), the finest level (B, widths[0], h/cell, w/cell) first."""
        x = torch.cat([draft, beside, (draft - beside).abs()], dim=1)
        x = F.pixel_unshuffle(x, self.cell).contiguous(memory_format=torch.channels_last)  # which CPUs convolve faster
        seen: list[Tensor] = []
        for level in self.levels:
            x = level(x)
            seen.append(x)
        return seen


class Up(nn.Module):
    """Lead what is said at the coarsest level to every pixel, past what was seen at each."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        finer = list(pairwise(widths))[::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in finer)
        self.levels = nn.ModuleList(_convolved(fine, fine) for fine, _ in finer)

    def forward(self, said: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """Return `said` (B, widths[-1], ...) at the finest level, (B, widths[0], ...)."""
        for narrow, level, here in zip(self.narrow, self.levels, seen[-2::-1], strict=True):
            said = level(here + F.interpolate(narrow(said), scale_factor=2, mode="nearest"))
        return said


def _level(channels: int, width: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(_convolved(channels, width, stride), _convolved(width, width))


def _convolved(channels: int, width: int, stride: int = 1) -> nn.Module:
    # without norms it hardly learns (docs/training.md)
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, padding=1), nn.GroupNorm(1, width), nn.SiLU())
