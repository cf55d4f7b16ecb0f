"""What calibration says, as tables: of pairs by cut, half, kind and reason; of instructions and edits by category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from schemas.records import Category
from tasks.calibrate.fit import cross_validated, fit
from tasks.calibrate.labels import Labels
from tasks.calibrate.pairs import Judged, Rates, among, halves, proposed_cut, rates, share
from tasks.calibrate.truth import Found, median
from tasks.ledger import Row

CURVED = "Pairs by cut"  # the table whose figures are also drawn
CUTS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
VISIBLE = 0.5  # share of a region that the reference must show
ON_PRODUCT = 0.8  # share of a region that must lie on the product
AREAS = (0.01, 0.3)  # of the photo


def pair_tables(pairs: Sequence[Judged], labels: Labels, cut: float, precision: float) -> dict[str, list[Row]]:
    """Return the tables of pairs. `cut` is the one in force; `precision` the one that proposed cuts must reach."""
    true_pairs = labels.true_pairs()
    tables = {CURVED: [_row("in force" if at == cut else "", rates(pairs, true_pairs, at))
                               for at in sorted({*CUTS, cut})]}  # fmt: skip
    tables["Cut proposed on one half of the products, and what it gives"] = _halves(pairs, labels, precision)
    kinds = sorted(set(labels.kinds.values()))
    if kinds:
        tables["By kind of the target, at the cut in force"] = [
            _row(kind, rates([p for p in pairs if labels.kinds.get(p.target) == kind], labels.true_pairs(kind), cut))
            for kind in kinds
        ]
    refitted = fit(pairs)
    if refitted is not None:
        unseen = cross_validated(pairs)
        tables["Judge fitted anew for each pair, on products that are not its own"] = [
            _row("in force" if at == cut else "", rates(unseen, true_pairs, at)) for at in sorted({*CUTS, cut})
        ]
        names = ("cosine", "coloured", "detailed")
        weights = dict(zip(names, (round(weight, 4) for weight in refitted.weights), strict=True))
        tables["Judge fitted to all"] = [{"intercept": round(refitted.intercept, 4), **weights}]
    tables["Not accepted, by reason"] = _reasons(pairs, true_pairs)
    return tables


def instruction_tables(found: Sequence[Found], parts: Sequence[tuple[Category, bool]]) -> dict[str, list[Row]]:
    """Return the tables of instructions held against the renderer's truth, by category and over all."""
    by_category: list[Row] = []
    for category in (*Category, None):
        these = [one for one in found if category in (None, one.category)]
        looked_for = [was for kind, was in parts if category in (None, kind)]
        by_category.append(
            {
                "category": category.value if category else "all",
                "instructions": len(these),
                "right": percent(share(sum(one.right for one in these), len(these))),
                "parts to find": len(looked_for),
                "found": percent(share(sum(looked_for), len(looked_for))),
                "visible": percent(share(sum(one.visible >= VISIBLE for one in these), len(these))),
                "on product": percent(share(sum(one.on_product >= ON_PRODUCT for one in these), len(these))),
                "1-30% of photo": percent(share(sum(AREAS[0] <= one.area <= AREAS[1] for one in these), len(these))),
                "words right": percent(share(sum(not one.says for one in these), len(these))),
                "median area": round(median([one.area for one in these]), 4),
            }
        )
    wrong = Counter(what for one in found for what in one.says)
    return {
        "Instructions by category, by the renderer's truth": by_category,
        "What is wrong in the words": [{what: wrong[what] for what in ("thing", "place", "attribute")}],
    }


def _halves(pairs: Sequence[Judged], labels: Labels, precision: float) -> list[Row]:
    table: list[Row] = []
    one, other = halves(labels)
    for name, tuned, reported in (("first half", one, other), ("second half", other, one)):
        own = among(pairs, tuned)
        cut = proposed_cut(own, tuned.true_pairs(), precision)
        if cut is None:
            nothing = dict.fromkeys(_figures(Rates(0, 0, 0, 0)))
            table.append({"tuned on": name, "reported on": "(no cut reaches it)", **nothing})
            continue
        for where, side in (("itself", tuned), ("the other half", reported)):
            at = rates(among(pairs, side), side.true_pairs(), cut)
            table.append({"tuned on": name, "reported on": where, **_figures(at)})
    return table


def _reasons(pairs: Sequence[Judged], true_pairs: int) -> list[Row]:
    reasons = Counter((pair.reason, pair.right) for pair in pairs if pair.reason is not None)
    names = sorted({reason for reason, _ in reasons})
    table: list[Row] = [
        {"reason": name, "of one product": reasons[name, True], "of two": reasons[name, False]} for name in names
    ]
    proposed = sum(pair.right for pair in pairs)
    return [*table, {"reason": "(not compared)", "of one product": true_pairs - proposed, "of two": None}]


def _row(note: str, at: Rates) -> Row:
    return {"": note, **_figures(at)}


def _figures(at: Rates) -> Mapping[str, object]:
    return {
        "cut": round(at.cut, 4),
        "accepted": at.accepted,
        "right": at.right,
        "precision": percent(at.precision),
        "true pairs": at.true,
        "recall": percent(at.recall),
    }


def percent(figure: tuple[float, float, float] | None) -> str:
    """Return a share and its 95% interval for a person."""
    return "-" if figure is None else "{:.1%} ({:.1%} to {:.1%})".format(*figure)
