"""How good the pairs are: precision and recall over the cut, with intervals, on products not tuned on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb

from schemas.ids import digest
from tasks.calibrate.labels import Labels
from tasks.catalog import rows

NORMAL = 1.959964  # standard deviations of a 95% interval


class Scored(Protocol):
    """What a cut accepts where its score reaches it; None where it is accepted at no cut."""

    @property
    def score(self) -> float | None: ...

    @property
    def right(self) -> bool: ...


@dataclass(frozen=True)
class Judged:
    """A proposed pair whose photos are both labelled.

    `score` is the judge's same_product, None where the pair was refused or lies under the cuts of style or viewpoint:
    such a pair is accepted at no cut. `reason` says which.
    """

    pair_id: str
    target: str  # products
    reference: str
    score: float | None
    reason: str | None
    evidence: Mapping[str, Any]

    @property
    def right(self) -> bool:
        """Say whether both photos show one product: then it is right to accept the pair."""
        return self.target == self.reference


@dataclass(frozen=True)
class Rates:
    """What a cut gives: precision and recall, each with its 95% interval; None where there is nothing to count.

    `true` is how many there are that should be accepted.
    """

    cut: float
    accepted: int
    right: int
    true: int

    @property
    def precision(self) -> tuple[float, float, float] | None:
        """Return the share of accepted pairs that are right, and its interval."""
        return share(self.right, self.accepted)

    @property
    def recall(self) -> tuple[float, float, float] | None:
        """Return the share of what should be accepted that is, and its interval."""
        return share(self.right, self.true)


def judged_pairs(connection: duckdb.DuckDBPyConnection, labels: Labels) -> list[Judged]:
    """Return the pairs that the judge was asked under the newest run's settings, both photos labelled, by id."""
    found = rows(
        connection,
        """SELECT p.pair_id, p.target_id, p.reference_id, p.refused_for, p.evidence,
                  CASE WHEN p.style >= c.style AND p.viewpoint >= c.viewpoint THEN p.same_product END AS score
           FROM pairs p CROSS JOIN cuts c ORDER BY p.pair_id""",
    )
    return [
        Judged(
            pair_id=row["pair_id"],
            target=labels.products[row["target_id"]],
            reference=labels.products[row["reference_id"]],
            score=row["score"],
            reason=row["refused_for"],
            evidence=json.loads(row["evidence"] or "{}"),
        )
        for row in found
        if row["target_id"] in labels.products and row["reference_id"] in labels.products
    ]


def rates(items: Sequence[Scored], true: int, cut: float) -> Rates:
    """Return what accepting the items that score `cut` or more gives."""
    accepted = [one for one in items if one.score is not None and one.score >= cut]
    return Rates(cut, len(accepted), sum(one.right for one in accepted), true)


def curve(items: Sequence[Scored], true: int) -> list[Rates]:
    """Return the rates at every cut that changes them, from the strictest on."""
    ordered = sorted((one.score, one.right) for one in items if one.score is not None)[::-1]
    found, right = [], 0
    for accepted, (score, is_right) in enumerate(ordered, start=1):
        right += is_right
        if accepted == len(ordered) or ordered[accepted][0] < score:
            found.append(Rates(score, accepted, right, true))
    return found


def proposed_cut(items: Sequence[Scored], true: int, precision: float) -> float | None:
    """Return the cut of the highest recall whose precision is `precision` or more, half-way to the next lower score.

    None where no cut reaches it.
    """
    steps = curve(items, true)
    good = [at for at, step in enumerate(steps) if step.right >= precision * step.accepted]
    if not good:
        return None
    lower = steps[good[-1] + 1].cut if good[-1] + 1 < len(steps) else 0.0
    return (steps[good[-1]].cut + lower) / 2


def halves(labels: Labels) -> tuple[Labels, Labels]:
    """Return the labels of two halves of the products, drawn by the digests of their names."""
    products = sorted(set(labels.products.values()), key=lambda product: digest("half", product))
    first = set(products[: (len(products) + 1) // 2])
    kept = {image: product for image, product in labels.products.items() if product in first}
    rest = {image: product for image, product in labels.products.items() if product not in first}
    return Labels(kept, labels.kinds), Labels(rest, labels.kinds)


def among(pairs: Sequence[Judged], labels: Labels) -> list[Judged]:
    """Return the pairs whose two products are both among the labels."""
    products = set(labels.products.values())
    return [pair for pair in pairs if pair.target in products and pair.reference in products]


def share(part: int, whole: int) -> tuple[float, float, float] | None:
    """Return a share and its 95% interval by Wilson's score (1927), which holds for shares near 0 and 1 as well.

    It takes the counted as independent: pairs of one product are less so, and the true interval is somewhat wider.
    """
    if whole == 0:
        return None
    p, z2 = part / whole, NORMAL**2
    middle = (p + z2 / (2 * whole)) / (1 + z2 / whole)
    half = NORMAL / (1 + z2 / whole) * math.sqrt(p * (1 - p) / whole + z2 / (4 * whole**2))
    return p, max(0.0, middle - half), min(1.0, middle + half)
