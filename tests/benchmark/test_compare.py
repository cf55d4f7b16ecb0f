import numpy as np
import pytest

from benchmark.compare import duel, estimate
from schemas.ids import stream


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Products differ, and their samples are alike: an interval over samples would be far too narrow."""
    held = narrow = 0
    for trial in range(60):
        random = stream(0, "interval", trial)
        product = np.repeat(random.normal(0, 1, 40), 8)
        values = product + random.normal(0, 0.1, 320)
        groups = [str(number) for number in np.repeat(np.arange(40), 8)]
        found = estimate(values, groups)
        assert found.low is not None and found.high is not None
        held += found.low <= 0 <= found.high
        alone = estimate(values, [str(number) for number in range(320)])
        assert alone.low is not None and alone.high is not None
        narrow += alone.low <= 0 <= alone.high
    assert held >= 51  # of 60, at 95%
    assert narrow < 40


def test_a_mean_is_over_samples_that_have_a_figure() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0])
    found = estimate(values, ["a", "a", "b", "c"])
    assert (found.mean, found.samples, found.groups) == (3.0, 3, 2)
    assert found == estimate(values, ["a", "a", "b", "c"])
    none = estimate(np.array([np.nan]), ["a"])
    assert (none.mean, none.low, none.samples) == (None, None, 0)
    assert estimate(np.array([1.0, 2.0]), ["a", "a"]).low is None  # one product says nothing of others


def test_a_duel_is_on_the_same_samples_and_knows_which_end_is_better() -> None:
    groups = [str(number) for number in range(40)]
    hard = np.linspace(0, 100, 40)  # samples differ far more than models do
    one, other = hard + 1, hard + stream(0, "duel").normal(0, 0.2, 40)
    found = duel(one, other, groups, high_is_better=True)
    assert found.better.mean == pytest.approx(1, abs=0.15)
    assert found.better.low is not None and found.better.low > 0.8
    assert found.wins == 1
    assert duel(one, other, groups, high_is_better=False).wins == 0
    assert duel(one, one, groups, high_is_better=True).ties == 1
    assert duel(one, np.full(40, np.nan), groups, high_is_better=True).wins is None
