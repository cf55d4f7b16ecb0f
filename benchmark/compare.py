"""What figures say: means with bootstrap intervals over products, and models against each other on the same samples.

Samples of one product are alike, so chance is asked for products: each draw takes as many of them as there are, some
several times, and the mean of all their samples (Davison and Hinkley 1997, section 3.8: the clusters alone are drawn).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from schemas.ids import stream

DRAWS = 1000
LEVEL = 0.95
TIED = 1e-9  # two figures that lie nearer are equal

Values = NDArray[np.float64]  # (N,), not-a-number where there is none


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval (95%), over so many samples of so many groups; all null where there is no sample.

    Where all are of one group there is no interval: nothing tells how others would differ.
    """

    mean: float | None
    low: float | None
    high: float | None
    samples: int
    groups: int


@dataclass(frozen=True)
class Duel:
    """Two models on the same samples: by how much the first is better on average, and how often.

    `better` is the mean difference with its interval, positive where the first model is the better one; `wins`, `ties`
    are shares of the samples.
    """

    better: Estimate
    wins: float | None
    ties: float | None


def estimate(values: Values, groups: Sequence[str]) -> Estimate:
    """Return the mean of values (N,) and its percentile interval over groups (N,). Equal arguments, equal answers."""
    known = ~np.isnan(values)
    names, number = np.unique(np.asarray(groups, str)[known], return_inverse=True)
    if not known.any():
        return Estimate(None, None, None, 0, 0)
    sums = np.bincount(number, values[known], len(names))
    counts = np.bincount(number, minlength=len(names)).astype(np.float64)
    mean = float(sums.sum() / counts.sum())
    if len(names) == 1:
        return Estimate(mean, None, None, int(known.sum()), 1)
    drawn = _draws(len(names)).astype(np.float64)
    means = (drawn @ sums) / (drawn @ counts)  # (DRAWS,)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), int(known.sum()), len(names))


@lru_cache(maxsize=64)
def _draws(groups: int) -> NDArray[np.uint8]:
    """Return how often each draw takes each of so many groups, (DRAWS, groups): the same for all figures and models."""
    random = stream(0, "bootstrap", groups)
    taken = np.stack([np.bincount(random.integers(groups, size=groups), minlength=groups) for _ in range(DRAWS)])
    return taken.astype(np.uint8)  # nothing is drawn 256 times out of ten thousand


def duel(one: Values, other: Values, groups: Sequence[str], *, high_is_better: bool) -> Duel:
    """Hold two models' values (N,) of the same samples against each other."""
    apart = (one - other) if high_is_better else (other - one)
    known = apart[~np.isnan(apart)]
    found = estimate(apart, groups)
    if not len(known):
        return Duel(found, None, None)
    return Duel(found, float((known > TIED).mean()), float((np.abs(known) <= TIED).mean()))
