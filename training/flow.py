"""Flow matching: noise levels, the straight path between picture and noise, the loss, and the way back.

x_sigma = (1 - sigma) x0 + sigma noise, so that the velocity along the path is v = noise - x0. A model that knows v at
every point of the path leads from noise (sigma 1) to a picture (sigma 0).
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def schedule(steps: int, shift: float = 1.0) -> Tensor:
    """Return the noise levels of a way back in `steps` steps, float32 (steps + 1,), from 1 down to 0."""
    return shifted(torch.linspace(1, 0, steps + 1), shift)


def shifted(sigmas: Tensor, shift: float) -> Tensor:
    """Return levels moved towards noise by a factor > 1, as large pictures need it (Esser et al. 2024, equation 23)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def mix(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Return the points x_sigma (B, ...) between latents and noise of that shape, at levels (B,)."""
    level = sigma.view(-1, *[1] * (clean.ndim - 1))
    return (1 - level) * clean + level * noise


def shrink(mask: Tensor, height: int, width: int) -> Tensor:
    """Return which share of each latent cell a mask covers: bool (B, 1, H, W) to float32 (B, 1, height, width)."""
    return F.interpolate(mask.float(), (height, width), mode="area")


def masked_loss(predicted: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Return the squared error of each sample, (B,), in which the masked region weighs as much as all the rest.

    mean(err (1 - M)) + (HW / |M|) mean(err M), as ImageCritic was trained. `predicted`, `wanted`: (B, C, h, w);
    `mask`: (B, 1, h, w), 0..1. Where the mask is empty this is the mean error.
    """
    error = (predicted.float() - wanted.float()).square().mean(dim=1, keepdim=True)  # (B, 1, h, w)
    outside = (error * (1 - mask)).mean(dim=(1, 2, 3))
    area = mask.sum(dim=(1, 2, 3))
    within = (error * mask).sum(dim=(1, 2, 3)) / torch.where(area > 0, area, 1)
    return outside + within


def sample(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, sigmas: Tensor) -> Tensor:
    """Return latents like `noise` (B, ...), reached by Euler's steps along levels that fall from 1 to 0 (`schedule`).

    `velocity(x, sigma)` takes levels (B,). Steps are summed in float32.
    """
    x = noise.float()
    for now, next in pairwise(sigmas.tolist()):
        x = x + velocity(x.to(noise.dtype), x.new_full((len(x),), now)).float() * (next - now)
    return x.to(noise.dtype)
