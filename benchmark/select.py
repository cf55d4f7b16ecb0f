"""Which samples make a benchmark: a pure function of the candidates, the size, the rules and the seed.

Strata (category and task) have their numbers exactly; bins of mask area, damage and view have their least; no product
and no cluster has more than its cap. Where that cannot be, it is said what is missing and by how much.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.benchmark import Marginal, Selection, stratum
from schemas.ids import digest

CANDIDATES = pa.schema([
    ("quadruplet_id", pa.string()), ("category", pa.string()), ("task", pa.string()), ("product", pa.string()),
    ("cluster", pa.string()), ("mask_area", pa.float64()), ("damage", pa.float64()), ("view", pa.float64()),
])  # fmt: skip
MARGINALS = ("mask_area", "damage", "view")


@dataclass(frozen=True)
class Unfilled:
    """What cannot be filled: a stratum or a bin, how many are wanted, found, and how many candidates it has at all."""

    what: str
    wanted: int
    found: int
    candidates: int

    @property
    def missing(self) -> int:
        """Return by how much."""
        return self.wanted - self.found


@dataclass(frozen=True)
class Selected:
    """The rows that were chosen, in the order of their ids, what is missing, and the digest of the choice."""

    members: pa.Table
    unfilled: tuple[Unfilled, ...]
    skipped: tuple[str, ...]  # figures that nobody measured, whose bins nothing is asked of
    digest: str


def select(candidates: pa.Table, size: int, rules: Selection) -> Selected:
    """Choose `size` of the candidates (columns CANDIDATES); their order there does not matter.

    Chance is each candidate's own, by seed and id. First come those that the rarest bins need, then the strata are
    filled, the scarcest first; among equals products take turns.
    """
    table = candidates.sort_by("quadruplet_id")
    choice = _Choice(table, size, rules)
    for figure, number in choice.rarest_bins():
        choice.fill_bin(figure, number)
    for name in choice.scarcest_strata():
        choice.fill_stratum(name)
    chosen = np.flatnonzero(choice.taken)
    members = table.take(pa.array(chosen))
    ids = members["quadruplet_id"].to_pylist()
    return Selected(members, tuple(choice.unfilled()), choice.skipped, digest("benchmark", *ids))


def bins_of(values: NDArray[np.float64], marginal: Marginal) -> NDArray[np.int64]:
    """Return the bin of each value (N,), -1 where it is not known. A value on an edge is above it."""
    number = np.searchsorted(marginal.edges, values, side="right")
    return np.where(np.isnan(values), -1, number)


def bin_name(figure: str, number: int, edges: Sequence[float]) -> str:
    """Return what a bin is called.

    >>> bin_name("damage", 1, (17.0, 23.0))
    'damage 17 to 23'
    """
    if number == 0:
        return f"{figure} under {edges[0]:g}" if edges else figure
    return (
        f"{figure} from {edges[-1]:g}"
        if number == len(edges)
        else f"{figure} {edges[number - 1]:g} to {edges[number]:g}"
    )


def quotas(size: int, shares: dict[str, float]) -> dict[str, int]:
    """Share out a number by the largest remainders: the parts add up to it."""
    total = sum(shares.values())
    exact = {name: size * share / total for name, share in sorted(shares.items()) if share}
    whole = {name: int(part) for name, part in exact.items()}
    for name in sorted(exact, key=lambda name: (whole[name] - exact[name], name))[: size - sum(whole.values())]:
        whole[name] += 1
    return whole


class _Choice:
    """A choice while it is made: what is taken, and what is left of quotas, needs and caps."""

    def __init__(self, table: pa.Table, size: int, rules: Selection) -> None:
        self.rules = rules
        ids: list[str] = table["quadruplet_id"].to_pylist()
        self.products: list[str] = table["product"].to_pylist()
        self.clusters: list[str] = table["cluster"].to_pylist()
        pairs = zip(table["category"].to_pylist(), table["task"].to_pylist(), strict=True)
        self.strata = [stratum(*pair) for pair in pairs]
        self.taken = np.zeros(len(ids), bool)
        self.wanted = quotas(size, rules.shares)
        self.left = dict(self.wanted)
        self.of_product: Counter[str] = Counter()
        self.of_cluster: Counter[str] = Counter()
        self.order = self._order([digest("benchmark", rules.seed, one) for one in ids])
        self.bins: dict[str, list[int]] = {}
        skipped = []
        for figure in MARGINALS:
            number = bins_of(table[figure].to_numpy().astype(np.float64), getattr(rules, figure))
            if (number >= 0).any() or not ids:
                self.bins[figure] = number.tolist()
            else:
                skipped.append(figure)
        self.skipped = tuple(skipped)
        self.asked = {
            (figure, number): ceil(getattr(rules, figure).least * size)
            for figure in self.bins
            for number in range(len(getattr(rules, figure).edges) + 1)
        }
        self.needs = dict(self.asked)

    def _order(self, chance: Sequence[str]) -> list[int]:
        """Return all numbers in the order in which they are looked at: of each stratum, products take turns."""
        by_chance = sorted(range(len(chance)), key=chance.__getitem__)
        turn, seen = [0] * len(chance), Counter[tuple[str, str]]()
        for one in by_chance:
            turn[one] = seen[self.strata[one], self.products[one]]
            seen[self.strata[one], self.products[one]] += 1
        return sorted(by_chance, key=turn.__getitem__)

    def rarest_bins(self) -> list[tuple[str, int]]:
        """Return the bins, those first of which the fewest are there for each that is needed."""
        there = self._candidates_in_bins()
        needed = [one for one, need in self.needs.items() if need]
        return sorted(needed, key=lambda one: (there[one] / self.needs[one], one))

    def scarcest_strata(self) -> list[str]:
        """Return the strata, those first of which the fewest are there, caps minded, for each that is wanted."""
        there: Counter[str] = Counter()
        for (name, _), count in Counter(zip(self.strata, self.products, strict=True)).items():
            there[name] += min(count, self.rules.per_product)
        return sorted(self.wanted, key=lambda name: (there[name] / max(1, self.wanted[name]), name))

    def fill_bin(self, figure: str, number: int) -> None:
        """Take what a bin still needs."""
        of_figure = self.bins[figure]
        for one in self.order:
            if self.needs[figure, number] <= 0:
                return
            if of_figure[one] == number:
                self._take(one)

    def fill_stratum(self, name: str) -> None:
        """Take what a stratum still lacks."""
        for one in self.order:
            if self.left[name] <= 0:
                return
            if self.strata[one] == name:
                self._take(one)

    def _take(self, one: int) -> None:
        """Take a candidate where its stratum has room and no cap forbids it."""
        product, cluster, name = self.products[one], self.clusters[one], self.strata[one]
        if (
            self.taken[one]
            or self.left.get(name, 0) <= 0
            or self.of_product[product] >= self.rules.per_product
            or self.of_cluster[cluster] >= self.rules.per_cluster
        ):
            return
        self.taken[one] = True
        self.left[name] -= 1
        self.of_product[product] += 1
        self.of_cluster[cluster] += 1
        for figure, of_figure in self.bins.items():
            if of_figure[one] >= 0:
                self.needs[figure, of_figure[one]] -= 1

    def unfilled(self) -> list[Unfilled]:
        """Return what is missing, strata first."""
        there, in_bins = Counter(self.strata), self._candidates_in_bins()
        strata = [
            Unfilled(name, wanted, wanted - self.left[name], there[name])
            for name, wanted in self.wanted.items()
            if self.left[name] > 0
        ]
        return strata + [
            Unfilled(
                bin_name(figure, number, getattr(self.rules, figure).edges),
                self.asked[figure, number],
                self.asked[figure, number] - need,
                in_bins[figure, number],
            )
            for (figure, number), need in self.needs.items()
            if need > 0
        ]

    def _candidates_in_bins(self) -> Counter[tuple[str, int]]:
        return Counter((figure, number) for figure, of_figure in self.bins.items() for number in of_figure)
