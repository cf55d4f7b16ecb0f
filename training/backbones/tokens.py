"""Latents as rows of tokens, and where each token lies."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def patches(latents: Tensor, patch: int) -> Tensor:
    """Return tokens (B, h/p w/p, C p p) of latents (B, C, h, w), in the order in which Flux packs them."""
    return F.pixel_unshuffle(latents, patch).flatten(2).transpose(1, 2)


def unpatch(tokens: Tensor, height: int, width: int, patch: int) -> Tensor:
    """Return latents (B, C, height p, width p) of tokens (B, height width, C p p)."""
    return F.pixel_shuffle(tokens.transpose(1, 2).reshape(len(tokens), -1, height, width), patch)


def grid(kind: int, height: int, width: int) -> Tensor:
    """Return position ids [kind, h, w], float32 (height width, 3)."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.full_like(down, kind), down, across], dim=-1).flatten(0, 1).float()
