"""Agreement, against figures in print, figures worked out by hand, and the law that its interval follows."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.review.agreement import cohens_kappa, krippendorffs_alpha


def counted(table: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    """Return what two said of each item, from how often each pair of words was said."""
    return [(str(i), str(j)) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]


def test_kappa_by_hand() -> None:
    # of 50 items both keep 20 and both drop 15: po = 0.7; one keeps 25, the other 30: pe = 0.5 * 0.6 + 0.5 * 0.4 = 0.5
    found = cohens_kappa(counted([[20, 5], [10, 15]]))
    assert found is not None
    assert found[0] == pytest.approx(0.4)
    # Fleiss, Cohen, Everitt: on the diagonal 0.4 (0.5 - 1.1 * 0.3)^2 + 0.3 (0.5 - 0.9 * 0.3)^2 = 0.02743; off it
    # 0.09 (0.1 * (0.6 + 0.5)^2 + 0.2 * (0.4 + 0.5)^2) = 0.02547; less (0.35 - 1 + 0.7)^2 = 0.0025; over 50 * 0.5^4
    half = 1.959964 * math.sqrt((0.02743 + 0.02547 - 0.0025) / (50 * 0.0625))
    assert found[1:] == pytest.approx((0.4 - half, 0.4 + half), abs=1e-4)


def test_kappa_of_full_and_of_no_agreement() -> None:
    assert cohens_kappa(counted([[5, 0], [0, 5]])) == pytest.approx((1, 1, 1))
    worst = cohens_kappa(counted([[0, 5], [5, 0]]))
    assert worst is not None
    assert worst[0] == pytest.approx(-1)
    assert cohens_kappa(counted([[5, 0], [0, 0]])) is None
    assert cohens_kappa([]) is None


tables = st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=2), min_size=2, max_size=2)


@given(tables)
def test_the_interval_is_that_of_the_delta_method(table: list[list[int]]) -> None:
    """The variance of kappa from its slopes by each cell's share, taken numerically: no formula in common."""
    found, n = cohens_kappa(counted(table)), sum(map(sum, table))
    if found is None or n < 8:
        return
    shares = {(i, j): table[i][j] / n for i in range(2) for j in range(2)}

    def kappa(p: dict[tuple[int, int], float]) -> float:
        whole = sum(p.values())
        agreed = (p[0, 0] + p[1, 1]) / whole
        chance = sum((p[i, 0] + p[i, 1]) * (p[0, i] + p[1, i]) for i in range(2)) / whole**2
        return (agreed - chance) / (1 - chance)

    step = 1e-6
    slopes = {
        cell: (kappa({**shares, cell: shares[cell] + step}) - kappa({**shares, cell: shares[cell] - step})) / (2 * step)
        for cell in shares
    }
    mean = sum(shares[cell] * slopes[cell] for cell in shares)
    variance = (sum(shares[cell] * slopes[cell] ** 2 for cell in shares) - mean**2) / n
    half = 1.959964 * math.sqrt(max(0.0, variance))
    assert found[1] == pytest.approx(max(-1, found[0] - half), abs=1e-3)
    assert found[2] == pytest.approx(min(1, found[0] + half), abs=1e-3)


def observed(*observers: str) -> list[dict[str, str]]:
    """Return units from one line an observer; a dot says nothing."""
    lines = [line.split() for line in observers]
    return [{str(who): line[at] for who, line in enumerate(lines) if line[at] != "."} for at in range(len(lines[0]))]


@pytest.mark.parametrize(
    ("observers", "alpha"),
    [
        (("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),  # its part A: binary, two observers
        (
            (
                "1 2 3 3 2 1 4 1 2 . . .",
                "1 2 3 3 2 2 4 1 2 5 . 3",
                ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ),
            0.743,  # its part C: several observers, gaps
        ),
    ],
)
def test_alpha_is_that_in_print(observers: tuple[str, ...], alpha: float) -> None:
    """Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011)."""
    assert krippendorffs_alpha(observed(*observers)) == pytest.approx(alpha, abs=5e-4)


def test_alpha_where_there_is_nothing_to_tell() -> None:
    assert krippendorffs_alpha([]) is None
    assert krippendorffs_alpha(observed("0 0 0", "0 0 0")) is None
    assert krippendorffs_alpha(observed("0 1 .", ". . 1")) is None
    assert krippendorffs_alpha(observed("0 1 0", "0 1 0")) == pytest.approx(1)
