"""The cuts held against what people say of pairs and samples: what each gives, and which to set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from schemas.ids import digest
from schemas.records import Score
from tasks.calibrate.pairs import Rates, proposed_cut, rates
from tasks.calibrate.tables import percent
from tasks.catalog import rows
from tasks.ledger import Row

CUTS = tuple(tenth / 10 for tenth in range(1, 11))
FEWEST = (20, 5)  # kept, dropped: with fewer in a half a cut is set by chance
DROPPED_FOR = {Score.SAME_PRODUCT: "another-product", Score.STYLE: "style", Score.VIEWPOINT: "viewpoint"}
PROPOSED = "Cuts that people's verdicts propose, and what they give"

# What most of its reviewers say holds; a tie says nothing, nor does a drop for a reason that is not the score's matter.
# Rounded, since the ledger's figures of four bytes lie beside the tenths that are meant.
PAIRS = """
SELECT round(p.{score}::DOUBLE, 6) AS score, v.keeps > v.drops AS "right", i.product, p.target_id, p.reference_id
FROM reviewed v JOIN pairs p ON p.pair_id = v.item_id JOIN images i ON i.image_id = p.target_id
WHERE v.kind = 'pair' AND p.status = 'answered' AND (v.keeps > v.drops OR v.drops > v.keeps AND v.reason = $reason)
ORDER BY p.pair_id"""
SAMPLES = """
SELECT round(q.judged::DOUBLE, 6) AS score, v.keeps > v.drops AS "right", q.product, q.target_id, q.reference_id
FROM reviewed v JOIN quadruplets q ON q.quadruplet_id = v.item_id
WHERE v.kind = 'sample' AND q.judged IS NOT NULL
  AND (v.keeps > v.drops OR v.drops > v.keeps AND v.reason NOT IN ('duplicate', 'unsafe'))
ORDER BY q.quadruplet_id"""


@dataclass(frozen=True)
class Reviewed:
    """An item that people judged: its score, whether they would take it, and the product that it is of.

    Where no product is known, `product` is one of the photos that what people keep says are of one product.
    """

    score: float
    right: bool
    product: str


def people_tables(connection: duckdb.DuckDBPyConnection, precision: float) -> dict[str, list[Row]]:
    """Return the tables of what people judged: each setting's cuts, and those proposed to reach `precision`.

    Of samples only where a judge has scored them. Empty where nobody judged anything.
    """
    (in_force,) = rows(connection, "SELECT * FROM cuts")
    found = {f"pair.min_{score}": (_reviewed(connection, PAIRS.format(score=score), reason=DROPPED_FOR[score]),
                                   in_force[score]) for score in Score}  # fmt: skip
    found["judge.min_score"] = (_reviewed(connection, SAMPLES), in_force["judged"])
    tables: dict[str, list[Row]] = {}
    proposed: list[Row] = []
    for setting, (items, cut) in found.items():
        if items:
            tables[f"{setting} by what people say"] = _by_cut(items, round(cut, 6))
            proposed += [{"setting": setting, **row} for row in proposals(items, precision)]
    return tables | ({PROPOSED: proposed} if proposed else {})


def proposals(items: Sequence[Reviewed], precision: float) -> list[Row]:
    """Return rows of a cut tuned on one half of the products, reported on the other, and of the one tuned on all.

    One row that says so where there are too few verdicts for that.
    """
    one, other = halves(items)
    for half in (one, other):
        kept = sum(item.right for item in half)
        if kept < FEWEST[0] or len(half) - kept < FEWEST[1]:
            told = f"(too few verdicts: {kept} kept, {len(half) - kept} dropped in a half; {FEWEST[0]} and {FEWEST[1]})"
            return [{"tuned on": told, "reported on": None, **dict.fromkeys(_figures(Rates(0, 0, 0, 0)))}]
    table: list[Row] = []
    for name, tuned, where, reported in (
        ("first half", one, "the other half", other),
        ("second half", other, "the other half", one),
        ("all", items, "itself: the one to set", items),
    ):
        cut = proposed_cut(tuned, _kept(tuned), precision)
        figures = _figures(rates(reported, _kept(reported), cut if cut is not None else 0.0))
        nothing = {"reported on": "(no cut reaches it)", **dict.fromkeys(figures)}
        table.append({"tuned on": name, **({"reported on": where, **figures} if cut is not None else nothing)})
    return table


def halves(items: Sequence[Reviewed]) -> tuple[list[Reviewed], list[Reviewed]]:
    """Return the items of two halves of the products, drawn by the digests of their names."""
    products = sorted({item.product for item in items}, key=lambda product: digest("half", product))
    first = set(products[: (len(products) + 1) // 2])
    return [item for item in items if item.product in first], [item for item in items if item.product not in first]


def joined(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return for each thing that is linked the least of all that it is linked with, at first hand or by others."""
    above: dict[str, str] = {}

    def least(thing: str) -> str:
        while above.setdefault(thing, thing) != thing:
            thing = above[thing]
        return thing

    for one, other in links:
        low, high = sorted((least(one), least(other)))
        above[high] = low
    return {thing: least(thing) for thing in above}


def _reviewed(connection: duckdb.DuckDBPyConnection, sql: str, **parameters: str) -> list[Reviewed]:
    found = rows(connection, sql, parameters)
    known = [(row["target_id"], f"product {row['product']}") for row in found if row["product"] is not None]
    kept = [(row["target_id"], row["reference_id"]) for row in found if row["right"]]
    alone = [(row["target_id"], row["target_id"]) for row in found]
    product = joined([*known, *kept, *alone])
    return [Reviewed(row["score"], row["right"], product[row["target_id"]]) for row in found]


def _by_cut(items: Sequence[Reviewed], in_force: float) -> list[Row]:
    return [
        {"": "in force" if cut == in_force else "", **_figures(rates(items, _kept(items), cut))}
        for cut in sorted({*CUTS, in_force})
    ]


def _kept(items: Sequence[Reviewed]) -> int:
    return sum(item.right for item in items)


def _figures(at: Rates) -> Mapping[str, object]:
    return {
        "cut": round(at.cut, 4),
        "accepted": at.accepted,
        "people keep": at.right,
        "precision": percent(at.precision),
        "kept in all": at.true,
        "recall": percent(at.recall),
    }
