"""How alike pictures look, in batches: DreamSim as in the paper, or what stands in where it is not at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from schemas.errors import SettingsError
from schemas.training import Reward
from tasks.engines import dreamsim, efficientnet, lpips


@dataclass(frozen=True)
class Likeness:
    """A judge of likeness. `name` is told in every log and result.

    `describe` takes pictures, float32 (N, 3, side, side), 0..1, and returns (N, D); `compare` takes two of these and
    returns (N,): 1 for equal pictures, less for others.
    """

    name: str
    side: int
    describe: Callable[[Tensor], Tensor]
    compare: Callable[[Tensor, Tensor], Tensor]


def open_likeness(reward: Reward) -> Likeness:
    """Return the judge that the settings name. Raises SettingsError where its weights are not at hand."""
    match reward.likeness:
        case "dreamsim":
            if reward.dreamsim is None:
                raise SettingsError(
                    "setting reward.likeness: 'dreamsim' wants reward.dreamsim, the folder of its weights; or let "
                    "another stand in: reward.likeness=embedder"
                )
            dreamsim.load_dreamsim(
                reward.dreamsim, f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
            )
            return Likeness("dreamsim", dreamsim.SIDE, partial(dreamsim.describe, reward.dreamsim), _cosine)
        case "lpips":
            if reward.lpips is None:
                raise SettingsError(
                    "setting reward.likeness: 'lpips' wants reward.lpips, the file of AlexNet's weights"
                )
            weights = lpips.load_lpips(reward.lpips, "reward.lpips")
            return Likeness("lpips", 64, partial(lpips.describe, weights), _nearness)
        case "embedder":
            return Likeness("embedder", 64, efficientnet.describe, _cosine)


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=1)


def _nearness(one: Tensor, other: Tensor) -> Tensor:
    return 1 - (one - other).square().sum(dim=1)
