"""What is done in a patch answers for that patch's reward, and nothing else does."""

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from schemas.training import Grpo, Reward
from training.credit import Credit, credit, over
from training.rewards import patches_of
from training.sde import Step, log_prob

REWARD = Reward(likeness="embedder", patches=((1.0, 0.5), (1.0, 0.25)), least=(16, 8))


def masks(top: int, left: int, height: int, width: int) -> Tensor:
    """Return two masks (2, 1, 64, 64), the second one of all but the border."""
    found = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    found[0, :, top : top + height, left : left + width] = True
    found[1, :, 2:62, 2:62] = True
    return found


def given_to(mask: Tensor, side: int, how: Literal["sample", "patch"], where: Literal["all", "mask"]) -> Credit:
    return credit(Grpo(credit=how, varied=where, spread="group"), patches_of(mask, REWARD), mask, side, side)


@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(1, 24), st.integers(1, 24), st.sampled_from([8, 16, 64]),
    st.sampled_from(["sample", "patch"]), st.sampled_from(["all", "mask"]),
)  # fmt: skip
def test_patches_share_out_one_and_their_cells_too(
    top: int, left: int, height: int, width: int, side: int, how: Literal["sample", "patch"],
    where: Literal["all", "mask"],
) -> None:  # fmt: skip
    mask = masks(top, left, height, width)
    found = given_to(mask, side, how, where)
    assert found.shares.sum(dim=2) == pytest.approx(torch.ones(2, 2))
    real = (found.shares > 0).any(dim=0)
    assert found.cells.sum(dim=(2, 3))[real] == pytest.approx(torch.ones(int(real.sum())), abs=1e-5)
    assert (found.cells.sum(dim=(2, 3))[~real] == 0).all()  # a prompt of fewer patches
    assert (found.cells * ~found.varied == 0).all()
    assert over(torch.full((2, side, side), 3.0), found.cells, torch.arange(2))[real] == pytest.approx(3.0, abs=1e-4)
    masked = torch.nn.functional.adaptive_max_pool2d(mask.float(), side) > 0
    assert torch.equal(found.outside, ~masked[:, 0])
    if where == "mask":
        assert torch.equal(found.varied, masked)


def test_a_sample_as_a_whole_answers_with_all_its_cells() -> None:
    found = given_to(masks(8, 8, 20, 20), 64, "sample", "all")
    assert found.cells.shape == (2, 1, 64, 64)
    values = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(over(values, found.cells, torch.arange(2))[:, 0], values.mean(dim=(1, 2)), atol=1e-6)


def test_samples_are_averaged_over_the_cells_of_their_own_prompts() -> None:
    found = given_to(masks(8, 8, 20, 20), 64, "patch", "all")
    of = torch.tensor([0, 0, 1, 1, 1])
    values = torch.randn(5, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = torch.einsum("nhw,nphw->np", values.double(), found.cells[of].double())
    assert torch.allclose(over(values, found.cells, of).double(), wanted, atol=1e-6)
    assert torch.allclose(over(values[3:], found.cells, of[3:]).double(), wanted[3:], atol=1e-6)  # a part of a batch


def test_a_patch_answers_with_its_own_cells_alone() -> None:
    mask = masks(8, 8, 40, 40)
    found, boxes = given_to(mask, 64, "patch", "all"), patches_of(mask, REWARD)[0].boxes.tolist()
    for cells, (left, top, right, bottom) in zip(found.cells[0], boxes, strict=False):
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert torch.equal(cells > 0, inside)


def test_a_patchs_log_prob_is_the_mean_of_log_densities_over_its_own_cells() -> None:
    mask = masks(8, 8, 40, 40)
    found, boxes = given_to(mask, 64, "patch", "all"), patches_of(mask, REWARD)[0].boxes.tolist()
    mean, reached = (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        told = over(log_prob("flow", Step(mean, 0.3), reached), found.cells, torch.arange(2))
    assert told.dtype == torch.float32  # a ratio is clipped at 1e-4
    densities = Normal(mean.double(), 0.3).log_prob(reached.double())  # type: ignore[no-untyped-call]  # torch's own
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert float(told[0, number]) == pytest.approx(float(densities[0, :, top:bottom, left:right].mean()), rel=1e-4)


def test_of_an_empty_mask_everything_varies() -> None:
    found = given_to(torch.zeros(1, 1, 64, 64, dtype=torch.bool), 16, "patch", "mask")
    assert found.varied.all()
    assert not found.outside.any()
