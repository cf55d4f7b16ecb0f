"""The classical judge's regression, fitted anew to labelled pairs, and scored on products that the fit did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.calibrate.pairs import Judged
from tasks.engines.judge import figures

RIDGE = 0.015  # a pair, on standardised figures: keeps separable folds finite
STEPS = 50  # of Newton's method, at most; it takes less than ten
EVIDENCE = ("cosine", "coloured_matches", "detailed_matches")

Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A logistic regression of "same product": intercept and weights of the judge's figures."""

    intercept: float
    weights: tuple[float, ...]

    def score(self, pair: Judged) -> float:
        """Return the probability (0..1) that a pair shows one product."""
        logit = self.intercept + float(np.dot(self.weights, _figures(pair)))
        return float(1 / (1 + np.exp(-logit)))


def fit(pairs: Sequence[Judged]) -> Fit | None:
    """Return the ridge logistic regression of `right` on the figures of the pairs' evidence; None where all are alike.

    Newton's method on standardised figures; the intercept is not held back (Hastie et al., ESL, 4.4).
    """
    known = [pair for pair in pairs if has_figures(pair)]
    truth = np.array([pair.right for pair in known], float)
    if not 0 < truth.sum() < len(known):
        return None
    seen = np.array([_figures(pair) for pair in known])  # (N, 3)
    middle, spread = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(seen)), (seen - middle) / spread])  # (N, 4)
    penalty = np.diag([0.0, *[RIDGE * len(seen)] * seen.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (likely - truth) + penalty @ weights
        curvature = (design * (likely * (1 - likely))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), slope)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    unscaled = weights[1:] / spread
    return Fit(float(weights[0] - unscaled @ middle), tuple(float(weight) for weight in unscaled))


def cross_validated(pairs: Sequence[Judged]) -> list[Judged]:
    """Return the pairs with the scores that a fit gives which saw neither of their two products.

    A pair that was refused or cut keeps no score; so does one whose fit has nothing to go by.
    """
    fits: dict[frozenset[str], Fit | None] = {}
    scored = []
    for pair in pairs:
        apart = frozenset((pair.target, pair.reference))
        if apart not in fits:
            fits[apart] = fit([other for other in pairs if not apart & {other.target, other.reference}])
        own = fits[apart]
        usable = pair.score is not None and own is not None and has_figures(pair)
        scored.append(replace(pair, score=own.score(pair) if own is not None and usable else None))
    return scored


def has_figures(pair: Judged) -> bool:
    """Say whether a pair bears the evidence of the classical judge."""
    return all(name in pair.evidence for name in EVIDENCE)


def _figures(pair: Judged) -> tuple[float, float, float]:
    return figures(*(float(pair.evidence[name]) for name in EVIDENCE))
