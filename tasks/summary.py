"""The funnel: how many photos, pairs, instructions, edits and quadruplets there are, and where the others stopped."""

from __future__ import annotations

from pathlib import Path

import duckdb
from pydantic import BaseModel

from tasks.catalog import rows


class Step(BaseModel):
    """What a run did in one stage."""

    stage: str
    items: int
    answered: int
    refused: int
    failed: int
    seconds: float  # of the clock
    work_seconds: float  # of work, over all workers
    requests: int = 0  # to servers
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Funnel(BaseModel):
    """What the catalogue holds under the current settings."""

    photos: int
    images: int
    duplicates: int  # of them: photos that are another one's picture, which is kept in their place
    pairs_compared: int
    pairs: int
    instructions: int
    edits: int
    quadruplets: int
    curated: int  # of the quadruplets, what the filter set in force keeps
    held_back: int  # of those, in the benchmark reserve
    by_task: dict[str, int]
    by_category: dict[str, int]
    refused: dict[str, dict[str, int]]  # stage -> reason -> items
    failures: int


class Summary(BaseModel):
    """What a build did and what there is now."""

    run_id: str
    lake: Path
    steps: list[Step]
    funnel: Funnel
    version: str | None = None


def funnel(connection: duckdb.DuckDBPyConnection) -> Funnel:
    """Count what the catalogue holds."""

    def count(sql: str) -> int:
        return int(rows(connection, f"SELECT count(*) AS n FROM {sql}")[0]["n"])

    def by(column: str) -> dict[str, int]:
        sql = f"SELECT {column} AS name, count(*) AS n FROM quadruplets WHERE accepted GROUP BY 1 ORDER BY 2 DESC, 1"
        return {row["name"]: row["n"] for row in rows(connection, sql)}

    refused: dict[str, dict[str, int]] = {}
    sql = (
        "SELECT stage, reason, count(DISTINCT item_id) AS n FROM rejections GROUP BY ALL ORDER BY stage, n DESC, reason"
    )
    for row in rows(connection, sql):
        refused.setdefault(row["stage"], {})[row["reason"]] = row["n"]
    return Funnel(
        photos=count("sources"),
        images=count("images"),
        duplicates=count("clusters WHERE NOT keeper"),
        pairs_compared=count("pairs"),
        pairs=count("pairs WHERE accepted"),
        instructions=count("instructions"),
        edits=count("edits"),
        quadruplets=count("quadruplets WHERE accepted"),
        curated=count("curated"),
        held_back=count("curated WHERE split_group = 'benchmark'"),
        by_task=by("task"),
        by_category=by("category"),
        refused=refused,
        failures=count("failures"),
    )
