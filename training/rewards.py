"""What a sample is worth: likeness to the truth and equal pixels, both patch by patch over the mask's box.

The paper names DreamSim's similarity ("overall consistency") and the L2 distance inside the binary mask ("detail
learning"), patch-wise, and no sizes. Here patches are boxes at several scales, half overlapping, each weighed by the
share of it that is masked; every scale counts the same. Either reward has scales of its own: pixels can be told right
from wrong in patches that are too small to look like anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from schemas.records import Mask
from schemas.training import Reward
from training.dataset import Batch
from training.focus import around
from training.likeness import Likeness
from training.shown import pictures as as_pictures

AT_ONCE = 32  # patches that are looked at together: more no longer fit into a core's cache


@dataclass(frozen=True)
class Patches:
    """Patches of a picture: boxes (P, 4) of left, top, right, bottom in px.

    `weights` (2, P) are what they count for likeness and for pixels, 1 in all; 0 where a reward does not ask of one.
    """

    boxes: NDArray[np.int64]
    weights: NDArray[np.float32]


def patches(mask: Mask, reward: Reward) -> Patches:
    """Return the patches of a mask (H, W); of an empty one those of the whole picture."""
    height, width = mask.shape
    box = around(mask)
    if box is None:
        return patches(np.ones_like(mask), reward)
    weights: dict[tuple[int, int, int, int], list[float]] = {}
    for kind, (sides, least) in enumerate(zip(reward.patches, reward.least, strict=True)):
        for side in sides:
            columns = _spans(box.left, box.width, side, least, width)
            rows = _spans(box.top, box.height, side, least, height)
            here = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
            shares = np.array([mask[top:bottom, left:right].mean() for left, top, right, bottom in here])
            for one, share in zip(here, shares / shares.sum() / len(sides), strict=True):
                if share > 0:
                    weights.setdefault(one, [0.0, 0.0])[kind] += float(share)
    return Patches(np.array(list(weights), np.int64), np.array(list(weights.values()), np.float32).T)


@torch.no_grad()
def rewards(likeness: Likeness, reward: Reward, samples: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the rewards of groups of samples, float32 (2, B, G): likeness (1 for the truth), pixels (0 for it).

    `samples` float32 (B, G, 3, H, W), 0..1; `truth` (B, 3, H, W); `mask` bool (B, 1, H, W). Means over patches.
    """
    found = patches_of(mask, reward)
    each = by_patch(likeness, samples, truth, mask, found)
    return torch.stack([weighed(*one) for one in zip(each, found, strict=True)], dim=1)


@torch.no_grad()
def by_patch(
    likeness: Likeness, samples: Tensor, truth: Tensor, mask: Tensor, found: Sequence[Patches]
) -> list[Tensor]:
    """Return what `rewards` means over, of each prompt's patches: (2, P, G), 0 where a reward does not ask of one.

    Likeness is told by `likeness` at its own size; pixels are the root mean square error of those that are masked,
    below zero. What is no number in a sample is no number in its rewards.
    """
    each = []
    for group, wanted, masked, here in zip(samples, truth, mask, found, strict=True):
        rewards = torch.zeros(2, len(here.boxes), len(group), device=samples.device)
        looked_at, compared = here.weights > 0
        rewards[0, looked_at] = _likeness(likeness, group, wanted, here.boxes[looked_at])
        rewards[1, compared] = _pixels(group, wanted, masked, here.boxes[compared])
        each.append(rewards)
    return each


def weighed(rewards: Tensor, found: Patches) -> Tensor:
    """Return the means over its patches of a prompt's rewards (2, P, G): (2, G)."""
    return (rewards * torch.from_numpy(found.weights).to(rewards)[..., None]).sum(dim=1)


def patches_of(mask: Tensor, reward: Reward) -> list[Patches]:
    """Return the patches of each of some masks (B, 1, H, W)."""
    return [patches(one, reward) for one in mask[:, 0].cpu().numpy()]


def score(likeness: Likeness, reward: Reward, refined: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Return the rewards of refined pictures (B, 3, H, W), one a sample, by name, and their weighed sum: (B,) each."""
    truth, mask = as_pictures(batch.target, refined.device), batch.mask.to(refined.device)
    found = rewards(likeness, reward, refined[:, None], truth, mask)[:, :, 0]  # (2, B)
    return {f"reward_{likeness.name}": found[0], "reward_pixels": found[1], "reward": total(reward, found)}


def total(reward: Reward, rewards: Tensor) -> Tensor:
    """Return the weighed sum of rewards (2, ...), for people: what is learnt from are advantages of each."""
    weights = torch.tensor(reward.weights).to(rewards)
    summed: Tensor = torch.tensordot(weights, rewards, 1)
    return summed


def _likeness(likeness: Likeness, samples: Tensor, truth: Tensor, boxes: NDArray[np.int64]) -> Tensor:
    """Return the likeness of samples (G, 3, H, W) to the truth (3, H, W), patch by patch: (P, G)."""
    shown = torch.cat([truth[None], samples])  # (1 + G, 3, H, W)
    size = (likeness.side, likeness.side)
    cuts = [
        F.interpolate(shown[:, :, top:bottom, left:right], size, mode="bilinear", antialias=True).clamp(0, 1)
        for left, top, right, bottom in boxes.tolist()
    ]
    described = torch.cat([likeness.describe(part) for part in torch.split(torch.cat(cuts), AT_ONCE)])
    each = described.view(len(cuts), len(shown), -1)  # (P, 1 + G, D)
    return torch.stack([likeness.compare(one[1:], one[:1].expand_as(one[1:])) for one in each])


def _pixels(samples: Tensor, truth: Tensor, mask: Tensor, boxes: NDArray[np.int64]) -> Tensor:
    """Return how far samples (G, 3, H, W) are from the truth within a mask (1, H, W), below zero: (P, G)."""
    error = ((samples - truth).square().mean(dim=1) * mask).float()  # (G, H, W)
    inside = mask[0].float()
    each = []
    for left, top, right, bottom in boxes.tolist():
        area = inside[top:bottom, left:right].sum()
        area = torch.where(area > 0, area, 1)  # an empty mask: nothing is wrong inside it
        each.append((error[:, top:bottom, left:right].sum(dim=(1, 2)) / area).sqrt())
    return -torch.stack(each)


def _spans(start: float, length: float, share: float, least: int, limit: int) -> Sequence[tuple[int, int]]:
    """Return spans of a share of a length, half overlapping, that cover it; none leaves the picture's 0..limit."""
    side = min(limit, max(least, round(share * length)))
    count = 1 + max(0, ceil((length - side) / (side / 2)))
    firsts = np.linspace(start, start + length - side, count) if count > 1 else np.array([start + (length - side) / 2])
    places = np.clip(np.round(firsts), 0, limit - side).astype(int)
    return [(int(first), int(first) + side) for first in places]
