"""Which part of a sample answers for which reward.

The reward of a patch hangs on what was done there, above all in the last steps. So a patch may be a case of its own:
its advantage is among the same patches of its group, its log-prob over its own cells. What chance did in all other
cells then has no part in it, and fewer samples tell luck from skill.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.training import Grpo
from training.flow import shrink
from training.rewards import Patches


@dataclass(frozen=True)
class Credit:
    """Of B prompts: which latent cells vary, and what of them answers for which reward.

    `varied` bool (B, 1, h, w). `cells` float32 (B, P, h, w): over which of them the log-prob of each patch is averaged,
    1 in all; 0 where a prompt has fewer patches than P. `shares` float32 (2, B, P): how much each counts for likeness
    and for pixels, 1 in all. `outside` bool (B, h, w): which cells the mask does not touch; none where it is empty.
    """

    varied: Tensor
    cells: Tensor
    shares: Tensor
    outside: Tensor


def credit(grpo: Grpo, found: Sequence[Patches], mask: Tensor, height: int, width: int) -> Credit:
    """Return the credit of prompts with masks (B, 1, H, W), whose patches were `found`, on latents of a size."""
    within = shrink(mask, height, width) > 0
    within |= ~within.any(dim=(2, 3), keepdim=True)  # of an empty mask all
    varied = within if grpo.varied == "mask" else torch.ones_like(within)
    most = max(len(one.boxes) for one in found) if grpo.credit == "patch" else 1
    cells = torch.zeros(len(mask), most, height, width, device=mask.device)
    shares = torch.zeros(2, len(mask), most, device=mask.device)
    for row, one in enumerate(found):
        if grpo.credit == "sample":
            cells[row] = shares[:, row] = 1
            continue
        shares[:, row, : len(one.boxes)] = torch.from_numpy(one.weights).to(shares)
        planes = torch.zeros(1, len(one.boxes), *mask.shape[2:], device=mask.device)
        for number, (left, top, right, bottom) in enumerate(one.boxes.tolist()):
            planes[0, number, top:bottom, left:right] = 1
        cells[row, : len(one.boxes)] = shrink(planes, height, width)[0]
    cells = cells * varied
    return Credit(varied, cells / cells.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6), shares, ~within[:, 0])


def over(values: Tensor, cells: Tensor, of: Tensor) -> Tensor:
    """Return the means of values (N, h, w) over the cells of each patch of their prompts (B, P, h, w): (N, P).

    `of` (N,) names each sample's prompt; those of one prompt lie together.
    """
    flat, weights = values.flatten(1), cells.flatten(2)  # (N, h w), (B, P, h w)
    prompts, counts = torch.unique_consecutive(of, return_counts=True)
    with torch.autocast(values.device.type, enabled=False):  # which would multiply in bfloat16
        parts = zip(torch.split(flat, counts.tolist()), prompts.tolist(), strict=True)
        return torch.cat([part @ weights[prompt].T for part, prompt in parts])
