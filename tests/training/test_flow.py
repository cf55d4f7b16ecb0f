import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.training import Sft
from training.flow import masked_loss, mix, sample, schedule, shrink
from training.sft import sigmas_of


def test_levels_lie_between_the_ends_and_a_shift_moves_them_towards_noise() -> None:
    names = [str(number) for number in range(1000)]
    plain, moved = (sigmas_of(Sft(sigma_shift=shift), 1, 0, names) for shift in (1, 3))
    assert plain.min() > 0
    assert plain.max() < 1
    assert abs(plain.median() - 0.5) < 0.05
    assert (moved > plain).all()
    assert torch.equal(plain[500:], sigmas_of(Sft(), 1, 0, names[500:]))  # each sample's own
    assert schedule(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert schedule(4, shift=3)[[0, -1]].tolist() == [1, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.floats(0.5, 5))
def test_the_true_velocity_leads_from_noise_to_the_picture_in_any_steps(steps: int, shift: float) -> None:
    torch.manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def velocity(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        asked.append((x, sigma))
        return noise - clean

    assert torch.allclose(sample(velocity, noise, schedule(steps, shift)), clean, atol=1e-5)
    assert len(asked) == steps
    for x, sigma in asked:
        assert torch.allclose(x, mix(clean, noise, sigma), atol=1e-5)


def test_the_masked_region_weighs_as_much_as_the_rest() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :2, :2] = 1
    wanted, wrong = torch.zeros(1, 4, 8, 8), torch.ones(1, 4, 8, 8)
    assert masked_loss(wrong * mask, wanted, mask).item() == pytest.approx(1)
    assert masked_loss(wrong * (1 - mask), wanted, mask).item() == pytest.approx(60 / 64)
    assert masked_loss(wrong, wanted, mask).item() == pytest.approx(1 + 60 / 64)


def test_an_empty_mask_leaves_the_mean_error_and_no_sample_sees_anothers_mask() -> None:
    torch.manual_seed(0)
    predicted = torch.randn(2, 4, 8, 8, requires_grad=True)
    mask = torch.zeros(2, 1, 8, 8)
    mask[1, :, 3, 3] = 0.25  # a mask of less than a cell
    loss = masked_loss(predicted, torch.zeros(2, 4, 8, 8), mask)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss[0].item() == pytest.approx(predicted[0].square().mean().item())
    assert loss[1].item() < 2 * predicted[1].square().mean().item() + predicted[1, :, 3, 3].square().mean().item()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_a_mask_is_brought_to_latent_size_by_area() -> None:
    mask = torch.zeros(1, 1, 16, 24, dtype=torch.bool)
    mask[..., :8, :12] = True
    small = shrink(mask, 2, 3)
    assert small.shape == (1, 1, 2, 3)
    assert small[0, 0].tolist() == [[1, 0.5, 0], [0, 0, 0]]
