import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from schemas.errors import SettingsError
from schemas.training import Reward
from training.likeness import Likeness, open_likeness
from training.rewards import by_patch, patches, patches_of, rewards, total

REWARD = Reward(likeness="embedder", patches=((1.0, 0.5), (1.0, 0.25)), least=(16, 8))
EMBEDDER = open_likeness(REWARD)


def scene(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a truth (1, 3, 64, 64) with some texture, and a mask (1, 1, 64, 64)."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8, generator=random)
    truth = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 16:48, 8:56] = True
    return truth, mask


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 24), st.integers(1, 24))
def test_patches_cover_the_mask_and_weigh_one_in_all(top: int, left: int, height: int, width: int) -> None:
    mask = np.zeros((64, 64), bool)
    mask[top : top + height, left : left + width] = True
    found = patches(mask, REWARD)
    assert found.weights.sum(axis=1) == pytest.approx([1, 1])
    assert len(set(map(tuple, found.boxes.tolist()))) == len(found.boxes)
    assert (found.weights > 0).any(axis=0).all()
    for weights, least in zip(found.weights, REWARD.least, strict=True):
        covered, sides = np.zeros_like(mask), found.boxes[weights > 0]
        for x0, y0, x1, y1 in sides.tolist():
            assert 0 <= x0 < x1 <= 64
            assert 0 <= y0 < y1 <= 64
            assert mask[y0:y1, x0:x1].any()
            covered[y0:y1, x0:x1] = True
        assert covered[mask].all()
        assert min(sides[:, 2] - sides[:, 0]) >= least


def test_one_side_is_one_patch_and_an_empty_mask_is_the_whole_picture() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:40, 20:60] = True
    assert patches(mask, Reward(patches=((1.0,), (1.0,)))).boxes.tolist() == [[20, 10, 60, 40]]
    assert patches(np.zeros((64, 48), bool), Reward(patches=((1.0,), (1.0,)))).boxes.tolist() == [[0, 0, 48, 64]]


def test_nothing_is_worth_more_than_the_truth_and_more_damage_is_worth_less() -> None:
    truth, mask = scene()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    samples = torch.stack([truth + amount * noise * mask for amount in (0, 0.1, 0.3)], dim=1).clamp(0, 1)
    found = rewards(EMBEDDER, REWARD, samples, truth, mask)
    assert found.shape == (2, 1, 3)
    assert found[0, 0, 0] == pytest.approx(1, abs=1e-5)
    assert found[1, 0, 0] == 0
    assert (found.diff(dim=2) < 0).all()


def test_pixels_are_the_weighed_root_mean_square_errors_of_the_patches() -> None:
    truth, mask = scene()
    sample = (truth + 0.2 * torch.rand(truth.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    found = rewards(EMBEDDER, REWARD, sample[:, None], truth, mask)[1, 0, 0]
    inside, error = mask[0, 0].numpy(), ((sample - truth)[0].double().numpy() ** 2).mean(axis=0)
    chosen = patches(inside, REWARD)
    wanted = -sum(
        weight * np.sqrt(error[y0:y1, x0:x1][inside[y0:y1, x0:x1]].mean())
        for (x0, y0, x1, y1), weight in zip(chosen.boxes.tolist(), chosen.weights[1], strict=True)
        if weight
    )
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_what_lies_outside_the_mask_is_not_paid_for_by_pixels() -> None:
    truth, mask = scene()
    spoilt = torch.where(mask, truth, 1 - truth)
    assert rewards(EMBEDDER, REWARD, spoilt[:, None], truth, mask)[1] == 0


def test_a_sample_that_is_no_number_has_a_reward_that_is_none() -> None:
    truth, mask = scene()
    samples = torch.stack([truth, torch.full_like(truth, float("nan"))], dim=1)
    found = rewards(EMBEDDER, REWARD, samples, truth, mask)
    assert torch.isfinite(found[:, 0, 0]).all()
    assert not torch.isfinite(found[:, 0, 1]).any()


def test_the_total_weighs_the_rewards() -> None:
    found = torch.tensor([[[0.5]], [[-0.1]]])
    assert float(total(Reward(weights=(2, 3)), found)) == pytest.approx(0.7)


def test_each_patch_is_judged_with_its_own_truth() -> None:
    """A judge that knows a patch by its mean colour alone: what it is shown is what lies there."""
    shown: list[Tensor] = []

    def describe(pictures: Tensor) -> Tensor:
        shown.append(pictures)
        return pictures.mean(dim=(2, 3))

    judge = Likeness("colour", 8, describe, lambda one, other: 1 - (one - other).abs().sum(dim=1))
    truth, mask = scene()
    samples = torch.stack([truth, 1 - truth], dim=1)
    found = rewards(judge, REWARD, samples, truth, mask)[0, 0]
    chosen = patches(mask[0, 0].numpy(), REWARD)
    wanted = 0.0
    for (x0, y0, x1, y1), weight in zip(chosen.boxes.tolist(), chosen.weights[0], strict=True):
        colour = truth[0, :, y0:y1, x0:x1].mean(dim=(1, 2))
        wanted += weight * (1 - float((1 - 2 * colour).abs().sum()))
    assert float(found[0]) == pytest.approx(1)
    assert float(found[1]) == pytest.approx(wanted, abs=0.05)  # bilinear shrinking is not quite a mean
    assert shown[0].shape[1:] == (3, 8, 8)
    assert len(torch.cat(shown)) == 3 * (chosen.weights[0] > 0).sum()  # no more are looked at


def test_a_likeness_without_its_weights_says_what_to_fetch() -> None:
    with pytest.raises(SettingsError, match=r"reward.dreamsim, the folder of its weights; or let another stand in"):
        open_likeness(Reward())
    with pytest.raises(SettingsError, match=r"reward.lpips, the file"):
        open_likeness(Reward(likeness="lpips"))


def test_dreamsims_folder_is_looked_at_before_anything_is_downloaded(tmp_path: object) -> None:
    with pytest.raises(
        SettingsError, match=r"ensemble_lora/adapter_config.json is missing; with a network, `pip install"
    ):
        open_likeness(Reward.model_validate({"dreamsim": str(tmp_path)}))


def test_a_patch_has_no_reward_that_does_not_ask_of_it() -> None:
    truth, mask = scene()
    samples = (truth[:, None] + 0.1).clamp(0, 1)
    found = patches_of(mask, REWARD)
    each = by_patch(EMBEDDER, samples, truth, mask, found)[0]  # (2, P, 1)
    asked = torch.from_numpy(found[0].weights > 0)
    assert (~asked).any(dim=1).all()
    assert (each[..., 0][~asked] == 0).all()
    assert (each[..., 0][asked] != 0).all()
