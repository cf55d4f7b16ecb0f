"""Each way to be led astray moves its own figure, and the run's own history says when it is too much."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from schemas.training import Guards
from training.guards import NAMES, tripped, watch

PERIOD = 8


def textures(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)


@pytest.fixture
def scene() -> dict[str, Tensor]:
    truth, reference = textures(2, 1), textures(2, 2)
    mask = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    mask[..., 16:48, 16:48] = True
    noise = 0.05 * torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    return {"samples": truth[:, None] + noise, "truth": truth, "reference": reference, "mask": mask}


def watched(scene: dict[str, Tensor], **changed: Tensor) -> dict[str, float]:
    return dict(zip(NAMES, watch(**{**scene, **changed}, period=PERIOD).tolist(), strict=True))


def test_each_ruse_moves_its_own_figure(scene: dict[str, Tensor]) -> None:
    plain, samples, truth = watched(scene), scene["samples"], scene["truth"][:, None]
    outside = samples + 0.3 * ~scene["mask"][:, None]
    assert watched(scene, samples=outside)["outside"] < plain["outside"] - 3
    assert plain["outside"] == pytest.approx(-20 * torch.tensor(0.05).log10().item(), abs=0.2)
    blurred = F.avg_pool2d(samples.flatten(0, 1), 3, 1, 1).view(2, 4, 3, 64, 64)
    assert watched(scene, samples=blurred)["sharpness"] < plain["sharpness"] / 2
    blocks = (torch.arange(64) // PERIOD % 2) * 0.2
    assert watched(scene, samples=samples + blocks)["grid"] > 1.5 * plain["grid"]
    assert watched(scene, samples=samples + blocks.roll(PERIOD // 2))["grid"] < 1.05 * plain["grid"]  # elsewhere
    copied = scene["reference"][:, None] + (samples - truth)
    assert watched(scene, samples=copied)["copied"] > plain["copied"] + 0.5
    assert watched(scene, samples=samples[:, :1].expand_as(samples))["diversity"] < 0.01 * plain["diversity"]


def test_an_empty_mask_says_nothing_of_what_is_within(scene: dict[str, Tensor]) -> None:
    found = watched(scene, mask=torch.zeros_like(scene["mask"]))
    assert found["outside"] > 20
    assert found["diversity"] != found["diversity"]


def history(name: str, first: float, last: float, count: int = 10) -> list[dict[str, float]]:
    return [{f"guard_{name}": first}] * count + [{f"guard_{name}": last}] * count


@pytest.mark.parametrize(
    ("name", "first", "good", "bad", "word"),
    [
        ("outside", 40, 38, 36, "surroundings are being spoilt"),
        ("sharpness", 1.0, 1.8, 2.2, "harsh"),
        ("sharpness", 1.0, 0.6, 0.4, "blurred"),
        ("grid", 1.0, 1.4, 1.6, "grid of tokens is showing"),
        ("copied", 0.0, 0.1, 0.3, "reference is being copied in"),
        ("diversity", 0.1, 0.02, 0.005, "have become one"),
    ],
)
def test_a_run_stops_with_a_word_when_a_figure_has_gone_too_far(
    name: str, first: float, good: float, bad: float, word: str
) -> None:
    guards = Guards(over=10)
    assert tripped(guards, history(name, first, good)) is None
    assert tripped(guards, history(name, first, bad)[:-1]) is None  # too early to say
    found = tripped(guards, history(name, first, bad))
    assert found is not None
    assert word in found
    assert f"{bad:.3g}" in found
