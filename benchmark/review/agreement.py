"""How far reviewers agree, beyond what chance alone would give: of two by two, and of all."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from tasks import ledger
from tasks.calibrate.pairs import NORMAL
from tasks.catalog import plan_of_run, rows
from tasks.lake import Lake
from tasks.ledger import Row

Units = Sequence[Mapping[str, str]]  # of each item, what each of its reviewers said


def agreement_tables(lake: Lake) -> dict[str, list[Row]]:
    """Return tables by title: what each reviewer said, how far two agree, how far all do. As the ledger says now."""
    run = ledger.newest_run(lake)
    if run is None:
        return {"Verdicts": []}
    with plan_of_run(lake, run) as connection:
        said = rows(connection, "SELECT kind, item_id, reviewer, verdict FROM reviews ORDER BY ALL")
    items: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for row in said:
        items[row["kind"]][row["item_id"]][row["reviewer"]] = row["verdict"]
    by_kind = {kind: list(units.values()) for kind, units in items.items()}
    return {
        "Verdicts": [row for kind, units in by_kind.items() for row in _verdicts(kind, units)],
        "Agreement of two": [row for kind, units in by_kind.items() for row in _of_two(kind, units)],
        "Agreement of all": [_of_all(kind, units) for kind, units in by_kind.items()],
    }


def cohens_kappa(said: Sequence[tuple[str, str]]) -> tuple[float, float, float] | None:
    """Return Cohen's kappa (1960) of what two said of each item, and its 95% interval; None where it says nothing.

    kappa = (po - pe) / (1 - pe): po the share on which both agree, pe what their shares of each word would give by
    chance. The variance is that of Fleiss, Cohen and Everitt (Psychological Bulletin 72, 1969, equation 13), for large
    samples: with few items, or full agreement, the interval is narrower than it should be.
    """
    n = len(said)
    words = sorted({word for pair in said for word in pair})
    joint = Counter(said)
    first, second = Counter(one for one, _ in said), Counter(other for _, other in said)
    chance = sum(first[word] * second[word] for word in words) / n**2 if n else 1.0
    if chance == 1:
        return None  # both always said the same one word
    agreed = sum(joint[word, word] for word in words) / n
    kappa = (agreed - chance) / (1 - chance)
    on = sum(joint[w, w] / n * ((1 - chance) - (first[w] + second[w]) / n * (1 - agreed)) ** 2 for w in words)
    off = sum(
        count / n * ((second[one] + first[other]) / n) ** 2 for (one, other), count in joint.items() if one != other
    )
    spread = on + (1 - agreed) ** 2 * off - (agreed * chance - 2 * chance + agreed) ** 2
    half = NORMAL * math.sqrt(max(0.0, spread) / n) / (1 - chance) ** 2
    return kappa, max(-1.0, kappa - half), min(1.0, kappa + half)


def krippendorffs_alpha(units: Units) -> float | None:
    """Return Krippendorff's alpha for words without order, any number of reviewers, gaps allowed; None where undefined.

    alpha = 1 - (n - 1) (n - sum of o_cc) / (n^2 - sum of n_c^2), over the coincidences o of items judged by two or more
    ("Computing Krippendorff's Alpha-Reliability", 2011, part C).
    """
    pairable = [Counter(unit.values()) for unit in units if len(unit) > 1]
    totals: Counter[str] = sum(pairable, Counter())
    n = totals.total()
    unlike_by_chance = n**2 - sum(count**2 for count in totals.values())
    if unlike_by_chance == 0:
        return None  # nobody ever said another word
    alike = sum(count * (count - 1) / (unit.total() - 1) for unit in pairable for count in unit.values())
    return 1 - (n - 1) * (n - alike) / unlike_by_chance


def _verdicts(kind: str, units: Units) -> list[Row]:
    counts = Counter((name, verdict) for unit in units for name, verdict in unit.items())
    names = sorted({name for name, _ in counts})
    return [
        {"kind": kind, "reviewer": name, "keep": counts[name, "keep"], "drop": counts[name, "drop"]} for name in names
    ]


def _of_two(kind: str, units: Units) -> list[Row]:
    table: list[Row] = []
    for one, other in combinations(sorted({name for unit in units for name in unit}), 2):
        said = [(unit[one], unit[other]) for unit in units if one in unit and other in unit]
        if not said:
            continue
        kappa = cohens_kappa(said)
        same = sum(mine == theirs for mine, theirs in said)
        table.append(
            {
                "kind": kind,
                "one": one,
                "other": other,
                "both judged": len(said),
                "same": same,
                "share": f"{same / len(said):.1%}",
                "kappa": "-" if kappa is None else "{:.2f} ({:.2f} to {:.2f})".format(*kappa),
            }
        )
    return table


def _of_all(kind: str, units: Units) -> Row:
    several = [unit for unit in units if len(unit) > 1]
    alpha = krippendorffs_alpha(units)
    return {
        "kind": kind,
        "reviewers": len({name for unit in units for name in unit}),
        "items": len(units),
        "judged by several": len(several),
        "of one mind": sum(len(set(unit.values())) == 1 for unit in several),
        "alpha": "-" if alpha is None else f"{alpha:.2f}",
    }
