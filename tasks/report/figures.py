"""What a report says, asked of the catalogue: the funnel, distributions, timings, and the samples to show."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from schemas.ledger import STAGES
from tasks.catalog import read, rows
from tasks.diff import left_out
from tasks.distributions import BARS, Score, bars, count, gather, histogram, scores_there
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest, read_manifest
from tasks.summary import funnel

IN_BOTH = "in both"  # versions
RUNS = 5  # whose timings are told
EXAMPLES = 3  # of each reason for a refusal


@dataclass(frozen=True)
class Figures:
    """All that a report says but its pictures.

    `facts` is JSON for the page; `samples` and `examples` are the rows whose pictures it shows.
    """

    facts: dict[str, Any]
    samples: list[Row]
    examples: list[Row]
    scores: tuple[Score, ...]  # those that any sample has


def collect(lake: Lake, version: str | None = None, against: str | None = None, limit: int = 1000) -> Figures:
    """Ask for a report on the newest run's quadruplets, on a version's samples, or on a version against another.

    Counts and distributions are over all samples; `limit` of them are shown, drawn by their digests, those that two
    versions do not share first. Raises VersionError where there is no such version, and LakeError where the catalogue
    does not know it yet.
    """
    manifests = [read_manifest(lake, name) for name in (version, against) if name is not None]
    with read(lake) as connection:
        gather(connection, lake, manifests)
        scores = scores_there(connection)
        samples = _shown(connection, limit, compared=len(manifests) == 2)
        examples = [] if manifests else _examples(connection)
        facts = {
            "lake": lake.root.name,
            "versions": [_version(manifest) for manifest in manifests],
            "run": _run(connection, manifests),
            "total": count(connection, "(SELECT DISTINCT quadruplet_id FROM reported)"),
            "changes": _changes(connection) if len(manifests) == 2 else {},
            "left": [left.model_dump() for left in left_out(lake, manifests[1], manifests[0])]
            if len(manifests) == 2
            else [],
            "tiles": _tiles(connection),
            "funnel": _funnel_of_version(connection) if manifests else _funnel(connection),
            "bars": [bars(connection, column, name) for column, name in BARS.items()],
            "histograms": [histogram(connection, score) for score in scores],
            "scores": [{"column": s.column, "name": s.name, "unit": s.unit} for s in scores],
            "timings": _timings(connection, manifests[0]["run_id"] if manifests else None),
            "failures": [] if manifests else _failures(connection),
        }
    return Figures(facts, samples, examples, scores)


def _shown(connection: duckdb.DuckDBPyConnection, limit: int, *, compared: bool) -> list[Row]:
    found = rows(
        connection,
        """WITH one_each AS (
               SELECT *, count(*) OVER (PARTITION BY quadruplet_id) AS sides FROM reported
               QUALIFY row_number() OVER (PARTITION BY quadruplet_id ORDER BY side) = 1
               ORDER BY sides = 2, quadruplet_id LIMIT $limit
           ), paths AS (SELECT image_id, min(path) AS path FROM all_sources GROUP BY 1)
           SELECT s.*, t.path AS target_path, r.path AS reference_path FROM one_each s
           LEFT JOIN paths t ON t.image_id = s.target_id LEFT JOIN paths r ON r.image_id = s.reference_id
           ORDER BY sides = 2, quadruplet_id""",
        {"limit": limit},
    )
    for row in found:
        row["change"] = {"a": "added", "b": "dropped"}[row["side"]] if row["sides"] == 1 else IN_BOTH
        if not compared:
            row["change"] = None
    return found


def _changes(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    sql = f"""SELECT CASE WHEN count(*) = 2 THEN '{IN_BOTH}' WHEN min(side) = 'a' THEN 'added' ELSE 'dropped' END
              AS change FROM reported GROUP BY quadruplet_id"""
    counted = rows(connection, f"SELECT change, count(*) AS n FROM ({sql}) GROUP BY 1")
    return {"added": 0, "dropped": 0, IN_BOTH: 0} | {row["change"]: row["n"] for row in counted}


def _version(manifest: Manifest) -> dict[str, Any]:
    told = ("name", "parent", "samples", "bytes", "published_at", "content", "run_id", "code")
    return {key: manifest[key] for key in told}


def _run(connection: duckdb.DuckDBPyConnection, manifests: Sequence[Manifest]) -> dict[str, Any] | None:
    """Return the run that the report is about: the newest, or that of the version."""
    wanted = [manifests[0]["run_id"]] if manifests else []
    where = "WHERE run_id = ?" if manifests else ""
    for row in rows(connection, f"SELECT * FROM runs {where} ORDER BY run_id DESC LIMIT 1", wanted):
        fingerprints = json.loads(row["fingerprints"])
        return {key: row[key] for key in ("run_id", "status", "photos", "profile", "code")} | {
            "at": _minute(row["started_at"]),
            "fingerprints": [[stage, fingerprints[stage]] for stage in STAGES if stage in fingerprints],
            "settings": json.loads(row["settings"]),
        }
    return None


def _tiles(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    sql = """SELECT count(*) AS samples, count(DISTINCT product) AS products, count(DISTINCT pair_id) AS pairs,
                    count(DISTINCT target_id) AS targets FROM reported WHERE side = 'a'"""
    return {name: int(value) for name, value in rows(connection, sql)[0].items()}


def _funnel(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the steps from files to quadruplets, each with what was turned down on the way to it."""
    found = funnel(connection)
    failed = {row["stage"]: row["items"] for row in _failures(connection)}
    steps = [
        ("files listed", count(connection, "(SELECT DISTINCT item_id FROM listed)"), ()),
        ("photos", found.images, ("ingest",)),
        ("pairs compared", found.pairs_compared, ("embed", "block")),
        ("pairs accepted", found.pairs, ("pair",)),
        ("instructions", found.instructions, ("instruct",)),
        ("edits", found.edits, ("edit",)),
        ("quadruplets", found.quadruplets, ("restore",)),
        *([("curated", found.curated, ("curate",))] if "curate" in found.refused else []),
    ]
    return [
        {
            "name": name,
            "count": count,
            "refused": [[reason, n] for stage in stages for reason, n in found.refused.get(stage, {}).items()],
            "failed": sum(failed.get(stage, 0) for stage in stages),
        }
        for name, count, stages in steps
    ]


def _funnel_of_version(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return what a version's samples were made from; what was turned down beside them is the lake's to tell."""
    side = "FROM reported WHERE side = 'a'"
    steps = {
        "photos": f"(SELECT target_id {side} UNION SELECT reference_id {side})",
        "pairs": f"(SELECT DISTINCT pair_id {side})",
        "instructions": f"(SELECT DISTINCT instruction_id {side})",
        "edits": f"(SELECT DISTINCT input_sha256 {side})",
        "samples": f"(SELECT quadruplet_id {side})",
    }
    return [
        {"name": name, "count": count(connection, relation), "refused": [], "failed": 0}
        for name, relation in steps.items()
    ]


def _timings(connection: duckdb.DuckDBPyConnection, until: str | None) -> list[dict[str, Any]]:
    sql = f"""SELECT run_id, started_at, status, profile, steps FROM runs
              WHERE run_id <= coalesce(?, run_id) ORDER BY run_id DESC LIMIT {RUNS}"""
    return [
        {"run_id": row["run_id"], "at": _minute(row["started_at"]), "status": row["status"], "profile": row["profile"],
         "steps": json.loads(row["steps"]) if row["steps"] else []}
        for row in rows(connection, sql, [until])
    ]  # fmt: skip


def _failures(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    sql = "SELECT stage, count(*) AS items, min(detail) AS detail FROM failures GROUP BY stage ORDER BY stage"
    return rows(connection, sql)


def _examples(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return a few items of each reason for a refusal, with the photos that were looked at."""
    found = rows(
        connection,
        """WITH turned_down AS (
               SELECT stage, reason, item_id, min(detail) AS detail, min(path) AS path,
                      count(*) OVER (PARTITION BY stage, reason) AS items
               FROM rejections GROUP BY stage, reason, item_id
               QUALIFY row_number() OVER (PARTITION BY stage, reason ORDER BY item_id) <= $examples
           ), asked AS (SELECT DISTINCT ON (edit_id) edit_id, target_id, sentence, instruction FROM instructions
                        ORDER BY edit_id, instruction_id)
           SELECT r.stage, r.reason, r.items, r.item_id, r.detail, r.path, i.sentence, i.instruction,
                  coalesce(c.target_sha256, t.photo_sha256, q.target_sha256) AS target_sha256,
                  coalesce(c.reference_sha256, q.reference_sha256) AS reference_sha256
           FROM turned_down r
           LEFT JOIN candidates c ON r.stage IN ('pair', 'instruct') AND c.pair_id = r.item_id
           LEFT JOIN asked i ON r.stage = 'edit' AND i.edit_id = r.item_id
           LEFT JOIN images t ON t.image_id = i.target_id
           LEFT JOIN quadruplets q ON r.stage = 'curate' AND q.quadruplet_id = r.item_id
           ORDER BY r.items DESC, r.reason, r.item_id""",
        {"examples": EXAMPLES},
    )
    return sorted(found, key=lambda row: (*STAGES, "curate").index(row["stage"]))


def _minute(at: datetime.datetime) -> str:
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
