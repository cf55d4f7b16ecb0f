"""What a filter set does, or would do: rule by rule, and against the one that is in force."""

from __future__ import annotations

import duckdb
from pydantic import BaseModel

from schemas.scores import WORSE
from tasks.catalog import rows
from tasks.filters import FilterSet, first_rule, lay_verdicts
from tasks.ledger import Row

EXAMPLES = 3  # of what a rule drops


class RuleEffect(BaseModel):
    """What one rule does: samples it drops that no earlier rule drops, and those it would drop alone.

    `unknown` counts those of which it can say nothing, since a score is missing: it keeps them.
    """

    rule: int
    reason: str
    drop: str
    words: str
    drops: int
    alone: int
    unknown: int
    left: int
    examples: list[str]


class Effect(BaseModel):
    """What a filter set does to the samples there are, and what that changes against what is in force."""

    filters: str | None
    in_force: str | None
    samples: int
    curated: int
    unscored: int
    rules: list[RuleEffect]
    newly_dropped: dict[str, int]  # by reason
    brought_back: dict[str, int]  # by the reason for which they are dropped now


def effect(connection: duckdb.DuckDBPyConnection, filters: FilterSet | None) -> Effect:
    """Return the effect of a checked filter set, or of none, on the samples of a snapshot."""
    if filters is None:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE said AS SELECT quadruplet_id, NULL::INTEGER AS first FROM samples"
        )
    else:
        lay_verdicts(connection, filters, "verdicts_of_rules")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE said AS SELECT *, {first_rule(filters)} AS first FROM verdicts_of_rules"
        )
    now = rows(
        connection,
        """SELECT count(*) AS samples, count(*) FILTER (first IS NULL) AS curated,
                  (SELECT count(*) FROM samples ANTI JOIN scores USING (quadruplet_id)) AS unscored,
                  (SELECT any_value(filters) FROM filter_rules) AS in_force FROM said""",
    )[0]
    reasons = [rule.reason for rule in filters.rules] if filters else []
    newly = rows(
        connection,
        """SELECT first, count(*) AS n FROM said ANTI JOIN dropped USING (quadruplet_id)
           WHERE first IS NOT NULL GROUP BY first ORDER BY first""",
    )
    back = rows(
        connection,
        """SELECT r.reason, count(*) AS n FROM said JOIN dropped USING (quadruplet_id) JOIN filter_rules r USING (rule)
           WHERE first IS NULL GROUP BY r.rule, r.reason ORDER BY r.rule""",
    )
    return Effect(
        filters=filters.name if filters else None,
        **now,
        rules=_rules(connection, filters, now["samples"]) if filters else [],
        newly_dropped={reasons[row["first"] - 1]: row["n"] for row in newly},
        brought_back={row["reason"]: row["n"] for row in back},
    )


def _rules(connection: duckdb.DuckDBPyConnection, filters: FilterSet, left: int) -> list[RuleEffect]:
    found = []
    for number, rule in enumerate(filters.rules, start=1):
        (told,) = rows(
            connection,
            f"""SELECT count(*) FILTER (first = {number}) AS drops, count(*) FILTER (r{number}) AS alone,
                       count(*) FILTER (r{number} IS NULL) AS unknown,
                       coalesce(min(quadruplet_id, {EXAMPLES}) FILTER (first = {number}), []) AS examples FROM said""",
        )
        left -= told["drops"]
        found.append(RuleEffect(rule=number, **rule.model_dump(), **told, left=left))
    return found


def score_table(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return each score's spread over the samples: 5%, median, 95%, and how many have none."""
    asked = [
        f"""SELECT '{name}' AS score, count({name}) AS scored, count(*) - count({name}) AS "null",
                   quantile_cont({name}, 0.05)::DOUBLE AS "5%", median({name})::DOUBLE AS median,
                   quantile_cont({name}, 0.95)::DOUBLE AS "95%" FROM scored"""
        for name in WORSE
    ]
    # materialised: or else the view, which lies deep, is worked out for each score
    return rows(connection, f"WITH scored AS MATERIALIZED (FROM samples) {' UNION ALL '.join(asked)}")
