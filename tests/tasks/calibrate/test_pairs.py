import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from schemas.ids import stream
from tasks.calibrate.fit import EVIDENCE, RIDGE, cross_validated, fit
from tasks.calibrate.labels import Labels
from tasks.calibrate.pairs import Judged, among, curve, halves, proposed_cut, rates, share
from tasks.engines.judge import figures

PRODUCTS = ("cup", "mug", "jug", "pot", "pan", "can")


def judged(number: int, target: str, reference: str, score: float | None) -> Judged:
    random = stream(0, "evidence", number)
    same = target == reference
    evidence = {
        "cosine": float(random.normal(0.75 if same else 0.6, 0.1)),
        "coloured_matches": float(random.gamma(2, 12 if same else 4)),
        "detailed_matches": float(random.gamma(2, 6 if same else 2)),
    }
    return Judged(f"{number:04d}", target, reference, score, None if score is not None else "style", evidence)


pairs = st.lists(
    st.builds(
        judged,
        st.integers(0, 10_000),
        st.sampled_from(PRODUCTS),
        st.sampled_from(PRODUCTS),
        st.one_of(st.none(), st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_in_print(part: int, whole: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert share(part, whole) == pytest.approx((part / whole, low, high), abs=5e-5)
    assert share(0, 0) is None


@given(pairs)
def test_the_curve_is_what_each_cut_gives_and_loses_no_recall(found: list[Judged]) -> None:
    true_pairs = sum(pair.right for pair in found)
    steps = curve(found, true_pairs)
    assert [rates(found, true_pairs, step.cut) for step in steps] == steps
    assert [step.cut for step in steps] == sorted(
        {pair.score for pair in found if pair.score is not None}, reverse=True
    )
    assert [step.right for step in steps] == sorted(step.right for step in steps)


@given(pairs, st.sampled_from([0.6, 0.9, 1.0]))
def test_a_proposed_cut_reaches_the_precision_and_no_lower_one_does(found: list[Judged], precision: float) -> None:
    true_pairs = sum(pair.right for pair in found)
    cut = proposed_cut(found, true_pairs, precision)
    reaching = [step for step in curve(found, true_pairs) if step.right >= precision * step.accepted]
    if cut is None:
        assert not reaching
    else:
        assert rates(found, true_pairs, cut) == rates(found, true_pairs, reaching[-1].cut).__class__(
            cut, reaching[-1].accepted, reaching[-1].right, true_pairs
        )


def test_halves_share_no_product_and_pairs_across_them_are_in_neither() -> None:
    labels = Labels({f"{product}{number}": product for product in PRODUCTS for number in range(3)}, {"cup": "thing"})
    one, other = halves(labels)
    assert {*one.products.values()} | {*other.products.values()} == set(PRODUCTS)
    assert len({*one.products.values()}) == len({*other.products.values()}) == 3
    assert not {*one.products.values()} & {*other.products.values()}
    assert one.true_pairs() + other.true_pairs() == labels.true_pairs() == 6 * 3
    assert labels.true_pairs("thing") == 3
    first, second = next(iter(one.products.values())), next(iter(other.products.values()))
    within, across = judged(0, first, first, 0.5), judged(1, first, second, 0.5)
    assert among([within, across], one) == [within]
    assert among([within, across], other) == []


def many() -> list[Judged]:
    named = [(target, reference) for target in PRODUCTS for reference in PRODUCTS for _ in range(3)]
    return [judged(number, target, reference, 0.5) for number, (target, reference) in enumerate(named)]


def test_the_fit_is_the_optimum_of_the_penalised_likelihood() -> None:
    found = many()
    seen = np.array([figures(*(pair.evidence[name] for name in EVIDENCE)) for pair in found])
    truth = np.array([pair.right for pair in found], float)
    standard = (seen - seen.mean(axis=0)) / seen.std(axis=0)

    def loss(weights: NDArray[np.float64]) -> float:
        logit = weights[0] + standard @ weights[1:]
        likelihood = truth * logit - np.logaddexp(0, logit)
        return float(-likelihood.sum() + RIDGE * len(truth) / 2 * (weights[1:] ** 2).sum())

    best = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    own = fit(found)
    assert own is not None
    assert own.weights == pytest.approx(best[1:] / seen.std(axis=0), rel=1e-4)
    assert own.score(found[0]) == pytest.approx(1 / (1 + np.exp(-(best[0] + standard[0] @ best[1:]))), rel=1e-4)


def test_a_pair_is_scored_by_a_fit_that_saw_neither_of_its_products() -> None:
    found = many()
    before = {pair.pair_id: pair.score for pair in cross_validated(found)}
    changed = [
        pair if "cup" not in (pair.target, pair.reference) else judged(9000 + at, pair.target, pair.reference, 0.5)
        for at, pair in enumerate(found)
    ]
    cups = {pair.pair_id for pair in found if pair.target == pair.reference == "cup"}
    kept = [pair if pair.pair_id in cups else other for pair, other in zip(found, changed, strict=True)]
    after = {pair.pair_id: pair.score for pair in cross_validated(kept)}
    assert {pair_id: before[pair_id] for pair_id in cups} == {pair_id: after[pair_id] for pair_id in cups}
    mugs = {pair.pair_id for pair in found if pair.target == pair.reference == "mug"}
    assert all(before[pair_id] != after[pair_id] for pair_id in mugs)


def test_nothing_is_fitted_where_all_pairs_are_alike() -> None:
    assert fit([judged(number, "cup", "cup", 0.5) for number in range(5)]) is None
    assert fit([]) is None
    assert [pair.score for pair in cross_validated([judged(0, "cup", "cup", 0.5)])] == [None]
