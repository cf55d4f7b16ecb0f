"""Each formula of GRPO beside a computation of its own in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from training.policy import (
    advantages,
    clipped,
    divergence,
    error,
    guarded_ratio,
    losses,
    lost,
    plain_ratio,
    weight_after,
)
from training.sde import Step, cps_step, flow_step, log_prob

LEVELS = st.floats(0.05, 0.95)
NOISE = st.floats(0.05, 0.95)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(LEVELS | st.just(1.0), LEVELS, NOISE)
def test_flow_grpos_step_is_its_formula(now: float, share: float, noise: float) -> None:
    x, v, next = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1), now * share
    step = flow_step(x, v, now, next, noise)
    x64, v64, dt = x.double().numpy(), v.double().numpy(), next - now
    s = noise * np.sqrt(now / (1 - (next if now == 1 else now)))
    # x + [v + s^2 / (2 now) (x + (1 - now) v)] dt, as the paper has it
    mean = x64 + (v64 + s**2 / (2 * now) * (x64 + (1 - now) * v64)) * dt
    np.testing.assert_allclose(step.mean.numpy(), mean, rtol=2e-4, atol=2e-4 * (1 + s**2))
    assert step.std == pytest.approx(s * np.sqrt(-dt))


@given(LEVELS | st.just(1.0), LEVELS, NOISE)
def test_cps_step_is_its_formula(now: float, share: float, noise: float) -> None:
    x, v, next = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1), now * share
    step = cps_step(x, v, now, next, noise)
    x64, v64 = x.double().numpy(), v.double().numpy()
    s = next * math.sin(noise * math.pi / 2)
    mean = (1 - next) * (x64 - now * v64) + math.sqrt(next**2 - s**2) * (x64 + (1 - now) * v64)
    np.testing.assert_allclose(step.mean.numpy(), mean, rtol=1e-4, atol=1e-4)
    assert step.std == pytest.approx(s)


@pytest.mark.parametrize("steps", [400])
def test_the_stochastic_way_keeps_the_marginals_of_the_certain_one(steps: int) -> None:
    """Clean values are Gaussian, mean 0.5 and deviation 0.3: the true velocity is known, and so is every marginal."""
    middle, deviation, count = 0.5, 0.3, 40_000
    random = torch.Generator().manual_seed(2)
    x = torch.randn(count, 1, 1, 1, generator=random)
    levels = torch.linspace(1, 0.02, steps + 1).tolist()
    for now, next in itertools.pairwise(levels):
        variance = (1 - now) ** 2 * deviation**2 + now**2
        # E[noise - clean | x] for jointly Gaussian noise and clean
        velocity = -middle + (now - (1 - now) * deviation**2) / variance * (x - (1 - now) * middle)
        step = flow_step(x, velocity, now, next, 0.7)
        x = step.mean + step.std * torch.randn(x.shape, generator=random)
        if next < 0.9 and abs(next * 10 % 2) < 0.03:
            wanted = (1 - next) ** 2 * deviation**2 + next**2
            assert float(x.mean()) == pytest.approx((1 - next) * middle, abs=0.02)
            assert float(x.var()) == pytest.approx(wanted, rel=0.05)
    assert float(x.std()) == pytest.approx(deviation, rel=0.05)


@given(st.integers(2, 9), NOISE)
def test_cps_keeps_just_as_much_noise_as_the_level_says(steps: int, noise: float) -> None:
    clean, random = 0.4, torch.Generator().manual_seed(steps)
    x = clean * 0 + torch.randn(20_000, 1, 1, 1, generator=random)
    levels = torch.linspace(1, 0.1, steps + 1).tolist()
    for now, next in itertools.pairwise(levels):
        velocity = (x - clean) / now  # one clean value: the noise is known
        step = cps_step(x, velocity, now, next, noise)
        x = step.mean + step.std * torch.randn(x.shape, generator=random)
        assert float(x.mean()) == pytest.approx((1 - next) * clean, abs=0.04)
        assert float(x.std()) == pytest.approx(next, rel=0.04)


@given(NOISE)
def test_log_probs_are_each_cells_mean_of_log_densities(noise: float) -> None:
    mean, reached = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4, seed=1)
    wanted = Normal(mean.double(), noise).log_prob(reached.double()).mean(dim=1)  # type: ignore[no-untyped-call]  # torch's own
    assert torch.allclose(log_prob("flow", Step(mean, noise), reached).double(), wanted, rtol=1e-4, atol=1e-4)
    squared = -((reached.double() - mean.double()) ** 2).mean(dim=1)
    assert torch.allclose(log_prob("cps", Step(mean, noise), reached).double(), squared, atol=1e-5)


@given(NOISE)
def test_divergence_is_that_of_two_gaussians(noise: float) -> None:
    one, other = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4, seed=1)
    normals = [Normal(mean.double(), noise) for mean in (one, other)]
    wanted = torch.distributions.kl_divergence(*normals).mean(dim=1)
    assert torch.allclose(divergence(one, other, noise).double(), wanted, rtol=1e-4)


def test_advantages_compare_a_group_and_weigh_each_reward_by_its_own_spread() -> None:
    likeness, pixels = drawn(3, 6), 1000 * drawn(3, 6, seed=1)
    found, learnt = advantages(torch.stack([likeness, pixels]), torch.tensor([3.0, 1.0]))
    each = [
        (one - one.mean(1, keepdims=True)) / (one.std(1, keepdims=True) + 1e-4)
        for one in (likeness.double().numpy(), pixels.double().numpy())
    ]
    np.testing.assert_allclose(found.numpy(), 0.75 * each[0] + 0.25 * each[1], rtol=1e-4, atol=1e-5)
    assert learnt.all()
    shared, _ = advantages(likeness[None], torch.ones(1), spread=torch.tensor([2.0]))
    np.testing.assert_allclose(shared.numpy(), (likeness - likeness.mean(1, keepdim=True)).numpy() / 2.0001, rtol=1e-4)


def test_groups_that_tell_nothing_or_are_broken_are_left_out() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [1.0, float("nan"), 2.0], [1.0, float("inf"), 2.0]])
    found, learnt = advantages(rewards[None], torch.ones(1))
    assert learnt.tolist() == [True, False, False, False]
    assert (found[1:] == 0).all()
    assert torch.isfinite(found).all()
    # what has no weight does not make a group worth learning from
    _, learnt = advantages(torch.stack([rewards[1:2], rewards[:1]]), torch.tensor([1.0, 0.0]))
    assert learnt.tolist() == [False]


def test_no_advantage_is_beyond_five_deviations() -> None:
    found, _ = advantages(torch.cat([torch.zeros(1, 99), torch.ones(1, 1)], dim=1)[None], torch.ones(1))
    assert float(found.max()) == 5


@given(st.floats(0.5, 2), st.floats(-3, 3), st.floats(0.001, 0.3))
def test_the_clipped_loss_is_the_worse_of_two(ratio: float, advantage: float, clip: float) -> None:
    loss = float(clipped(torch.tensor([ratio]).double(), torch.tensor([advantage]).double(), clip))
    assert loss == pytest.approx(-min(advantage * ratio, advantage * min(max(ratio, 1 - clip), 1 + clip)))


def test_beyond_the_clip_there_is_nothing_to_gain() -> None:
    for ratio, advantage, pulls in ((1.2, 1.0, False), (0.8, 1.0, True), (1.2, -1.0, True), (0.8, -1.0, False)):
        x = torch.tensor([ratio], requires_grad=True)
        clipped(x, torch.tensor([advantage]), 0.1).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
        assert x.grad is not None
        assert bool(x.grad.abs() > 0) is pulls


@given(NOISE)
def test_the_guarded_ratio_is_unbiased_in_its_logarithm(noise: float) -> None:
    """Under the old policy the log of the plain ratio is negative on average, by the divergence; the guard's is not."""
    old, new = drawn(1, 1, 1, 1).expand(50_000, 1, 1, 1), drawn(1, 1, 1, 1, seed=1).expand(50_000, 1, 1, 1)
    reached = old + noise * drawn(50_000, 1, 1, 1, seed=2)
    logs = [log_prob("flow", Step(mean, noise), reached).flatten() for mean in (new, old)]
    apart = float(divergence(new, old, noise)[0])
    tolerance = 0.03 * (1 + float((new - old)[0].abs()) / noise)
    # logarithms, lest large ratios are no numbers
    assert float((logs[0] - logs[1]).mean()) == pytest.approx(-apart, abs=tolerance)
    small = new * 0.01 + old * 0.99
    now = log_prob("flow", Step(small, noise), reached).flatten()
    ratio = guarded_ratio(now - logs[1], divergence(small, old, noise).flatten(), noise)
    assert float(ratio.log().mean()) == pytest.approx(0, abs=0.01)
    shift = (reached - old).flatten() * (small - old).flatten() / noise  # what is left: no scale of the level
    assert torch.allclose(ratio.log(), shift, atol=2e-3)


def test_a_policy_that_has_not_moved_has_ratio_one() -> None:
    mean, reached = drawn(4, 3, 8, 8), drawn(4, 3, 8, 8, seed=1)
    now = log_prob("flow", Step(mean, 0.3), reached)
    assert torch.equal(plain_ratio(now - now), torch.ones(4, 8, 8))
    assert torch.allclose(guarded_ratio(now - now, divergence(mean, mean, 0.3), 0.3), torch.ones(4, 8, 8))


@given(st.floats(1e-3, 0.5), st.floats(0, 2), st.sampled_from([1.0, 0.04]))
def test_a_samples_loss_is_that_of_its_patches_by_their_shares_and_of_its_divergence(
    clip: float, beta: float, per: float
) -> None:
    ratio, advantage = 1 + 0.3 * drawn(5, 3), drawn(5, 3, seed=1)
    shares, apart = drawn(5, 3, seed=2).softmax(dim=1), drawn(5, seed=3).abs()
    wanted = np.zeros(5)
    for sample in range(5):
        for patch in range(3):
            rho, a = float(ratio[sample, patch]), float(advantage[sample, patch])
            gained = min(rho * a, min(max(rho, 1 - clip), 1 + clip) * a)  # the paper's J_clip
            wanted[sample] -= float(shares[sample, patch]) * gained / per
        wanted[sample] += beta * float(apart[sample])
    found = losses(ratio, advantage, shares, apart, clip, beta, per)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_each_group_has_weights_of_its_own() -> None:
    rewards = torch.stack([drawn(3, 5), drawn(3, 5, seed=1)])
    likeness, pixels = (advantages(one[None], torch.ones(1))[0] for one in rewards)
    found, learnt = advantages(rewards, torch.tensor([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0]]))
    assert torch.allclose(found[0], (likeness[0] + 3 * pixels[0]) / 4, atol=1e-6)
    assert torch.allclose(found[1], pixels[1], atol=1e-6)  # the other one has no say
    assert (found[2] == 0).all()
    assert learnt.tolist() == [True, True, False]


def test_an_error_is_the_mean_square_where_it_is_asked_for() -> None:
    latents, truth, where = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1), drawn(2, 4, 5, seed=2) > 0
    where[1] = False
    squares = (latents - truth).double().numpy() ** 2
    wanted = np.moveaxis(squares[0], 0, -1)[where[0].numpy()].mean()
    assert error(latents, truth, where).tolist() == pytest.approx([wanted, 0])


@given(st.floats(0, 10), st.floats(0, 10))
def test_what_is_lost_is_the_logarithm_of_how_an_error_grew(now: float, before: float) -> None:
    found = lost(torch.tensor([now]), torch.tensor([before]))
    assert float(found[0]) == pytest.approx(math.log(now + 5e-6) - math.log(before + 5e-6), abs=1e-3)


SOME = st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=20)  # too little for the bound


@given(st.floats(1e-6, 10), SOME, st.floats(0.01, 0.5))
def test_the_weight_of_what_is_lost_follows_it(weight: float, gone: list[float], more: float) -> None:
    found = weight_after(weight, gone)
    assert math.log(found / weight) == pytest.approx(4 * float(np.mean(gone[-5:])) + 0.1 * sum(gone), abs=1e-6)
    assert weight_after(weight, []) == weight
    assert weight_after(weight, [*gone[:-1], gone[-1] + more]) > found  # lost lately
    assert weight_after(weight, [gone[0] + more, *gone[1:]]) > found  # or long ago


@given(st.floats(1e-6, 10), st.lists(st.floats(-20, 20), max_size=400))
def test_the_weight_of_what_is_lost_stays_within_reach(weight: float, gone: list[float]) -> None:
    assert weight * math.exp(-3) * 0.999 <= weight_after(weight, gone) <= weight * math.exp(3) * 1.001


@pytest.mark.parametrize("gone", [1.0, -1.0])
def test_the_weight_of_what_is_lost_comes_back_however_long_it_was(gone: float) -> None:
    back = [-gone * 0.5] * 60  # which undo just as much as the weight has at most
    assert weight_after(1, [gone] * 1000 + back) == pytest.approx(weight_after(1, [gone] * 40 + back))
    assert math.log(weight_after(1, [gone] * 1000 + back)) * gone < 0
