"""What a report says, asked of the catalogue: the funnel, distributions, timings, and the samples to show."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from schemas.errors import LakeError
from schemas.ledger import STAGES
from tasks.catalog import read, rows
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest, read_manifest
from tasks.summary import funnel

BARS = {
    "category": "Category",
    "task": "Task",
    "split_group": "Split group",
    "operation": "Operation",
    "size": "Size, px",
}
IN_BOTH = "in both"  # versions
BINS = 24  # of a histogram, about
RUNS = 5  # whose timings are told
EXAMPLES = 3  # of each reason for a refusal
SMALLEST_SCALE = 1e-9  # of a histogram whose values are all the same


@dataclass(frozen=True)
class Score:
    """A figure of each sample: its column, its name and unit for people, and how often the unit goes into it."""

    column: str
    name: str
    unit: str
    factor: float = 1.0


SCORES = (
    Score("psnr", "PSNR within the mask", "dB"),
    Score("mask_area", "Mask area", "%", 100),
    Score("strength", "Strength asked for", ""),
    Score("filled", "Share of the region changed", "%", 100),
    Score("outside", "Change outside the region", "%", 100),
    Score("same_product", "Pair: same product", ""),
    Score("style", "Pair: likeness of style", ""),
    Score("viewpoint", "Pair: likeness of viewpoint", ""),
)
# Of a curation: where nothing is scored, nothing is shown
CURATED = (
    Score("sharpness", "Sharpness of the target", ""),
    Score("reference_sharpness", "Sharpness of the reference", ""),
    Score("exposure", "Exposure", ""),
    Score("compactness", "Compactness of the mask", ""),
    Score("ssim", "SSIM within the mask", ""),
    Score("likeness", "Likeness within the mask", ""),
    Score("lpips", "LPIPS within the mask", ""),
    Score("clip", "CLIP-I about the mask", ""),
    Score("dino", "DINO-I about the mask", ""),
    Score("reference_overlap", "Mask shown by the reference", "%", 100),
    Score("residue", "Left over outside the mask", "levels"),
    Score("text_distance", "Signs that differ", "%", 100),
    Score("unsafe", "Unsafe, as classified", ""),
)
JUDGED = "same_product, style, viewpoint"  # of a sample's pair
SCORED = ", ".join(f"c.{score.column}" for score in CURATED)


@dataclass(frozen=True)
class Figures:
    """All that a report says but its pictures.

    `facts` is JSON for the page; `samples` and `examples` are the rows whose pictures it shows.
    """

    facts: dict[str, Any]
    samples: list[Row]
    examples: list[Row]
    scores: tuple[Score, ...] = SCORES  # those that any sample has


def collect(lake: Lake, version: str | None = None, against: str | None = None, limit: int = 1000) -> Figures:
    """Ask for a report on the newest run's quadruplets, on a version's samples, or on a version against another.

    Counts and distributions are over all samples; `limit` of them are shown, drawn by their digests, those that two
    versions do not share first. Raises VersionError where there is no such version, and LakeError where the catalogue
    does not know it yet.
    """
    manifests = [read_manifest(lake, name) for name in (version, against) if name is not None]
    with read(lake) as connection:
        _gather(connection, lake, manifests)
        scores = (
            *SCORES,
            *(score for score in CURATED if _count(connection, f"reported WHERE {score.column} IS NOT NULL")),
        )
        samples = _shown(connection, limit, compared=len(manifests) == 2)
        examples = [] if manifests else _examples(connection)
        facts = {
            "lake": lake.root.name,
            "versions": [_version(manifest) for manifest in manifests],
            "run": _run(connection, manifests),
            "total": _count(connection, "(SELECT DISTINCT quadruplet_id FROM reported)"),
            "changes": _changes(connection) if len(manifests) == 2 else {},
            "tiles": _tiles(connection),
            "funnel": _funnel_of_version(connection) if manifests else _funnel(connection),
            "bars": [_bars(connection, column, name) for column, name in BARS.items()],
            "histograms": [_histogram(connection, score) for score in scores],
            "scores": [{"column": s.column, "name": s.name, "unit": s.unit} for s in scores],
            "timings": _timings(connection, manifests[0]["run_id"] if manifests else None),
            "failures": [] if manifests else _failures(connection),
        }
    return Figures(facts, samples, examples, scores)


def _gather(connection: duckdb.DuckDBPyConnection, lake: Lake, manifests: Sequence[Manifest]) -> None:
    """Lay the table `reported`: those of the side 'a', and of the side 'b' that it is held against."""
    if not manifests:
        connection.execute(
            f"""CREATE TEMP TABLE reported AS SELECT q.*, {JUDGED}, {SCORED}, 'a' AS side
                FROM quadruplets q LEFT JOIN pairs USING (pair_id) LEFT JOIN scores c USING (quadruplet_id)
                WHERE q.accepted"""
        )
    for side, manifest in zip("ab", manifests, strict=False):
        start = "CREATE TEMP TABLE reported AS" if side == "a" else "INSERT INTO reported"
        connection.execute(
            f"""{start} SELECT q.* REPLACE (m.split_group AS split_group), {JUDGED}, {SCORED}, '{side}' AS side
                FROM all_quadruplets q
                JOIN (SELECT quadruplet_id, any_value(split_group) AS split_group FROM version_members
                      JOIN ledger_version_shards USING (version, shard_sha256) WHERE version = ? GROUP BY 1) m
                     USING (quadruplet_id)
                LEFT JOIN (SELECT pair_id, any_value(same_product) AS same_product, any_value(style) AS style,
                                  any_value(viewpoint) AS viewpoint
                           FROM all_pairs WHERE fingerprint = ? GROUP BY pair_id) p USING (pair_id)
                LEFT JOIN scores c USING (quadruplet_id)
                WHERE q.accepted AND q.fingerprint = ?
                QUALIFY row_number() OVER (PARTITION BY q.quadruplet_id ORDER BY q.run_id DESC) = 1""",
            [manifest["name"], manifest["fingerprints"].get("pair"), manifest["fingerprints"].get("restore")],
        )
        if _count(connection, f"reported WHERE side = '{side}'") != manifest["samples"]:
            raise LakeError(
                f"lake {lake.root}: its catalogue does not hold all of version '{manifest['name']}'; "
                "make it anew with `omnirefiner rebuild`"
            )


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
        ("files listed", _count(connection, "(SELECT DISTINCT item_id FROM listed)"), ()),
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
        {"name": name, "count": _count(connection, relation), "refused": [], "failed": 0}
        for name, relation in steps.items()
    ]


def _bars(connection: duckdb.DuckDBPyConnection, column: str, name: str) -> dict[str, Any]:
    value = "concat(width, ' × ', height)" if column == "size" else column
    sql = f"""SELECT {value} AS name, count(*) FILTER (side = 'a') AS a, count(*) FILTER (side = 'b') AS b
              FROM reported GROUP BY 1 ORDER BY a + b DESC, 1"""
    return {
        "column": column,
        "name": name,
        "rows": [[row["name"], row["a"], row["b"]] for row in rows(connection, sql)],
    }


def _histogram(connection: duckdb.DuckDBPyConnection, score: Score) -> dict[str, Any]:
    """Return counts in equal bins with round edges, the same for both sides, and the quartiles of each."""
    told = {"column": score.column, "name": score.name, "unit": score.unit}
    value = f"{score.column}::DOUBLE * {score.factor}"
    of = f"FROM reported WHERE isfinite({score.column})"
    (ends,) = rows(connection, f"SELECT min({value}) AS low, max({value}) AS high {of}")
    if ends["low"] is None:
        return told | {"start": 0, "step": 1, "a": [], "b": [], "quantiles": {}}
    step = _round_step((ends["high"] - ends["low"]) / BINS)
    first = math.floor(ends["low"] / step)
    counts: dict[str, list[int]] = {side: [0] * (math.floor(ends["high"] / step) - first + 1) for side in "ab"}
    binned = rows(
        connection, f"SELECT side, floor({value} / ?)::BIGINT AS bin, count(*) AS n {of} GROUP BY ALL", [step]
    )
    for row in binned:
        counts[row["side"]][row["bin"] - first] = row["n"]
    sql = f"SELECT side, quantile_cont({value}, [0.05, 0.5, 0.95]) AS q {of} GROUP BY side ORDER BY side"
    quantiles = {row["side"]: [float(f"{q:.4g}") for q in row["q"]] for row in rows(connection, sql)}
    return told | {"start": first * step, "step": step, **counts, "quantiles": quantiles}


def _round_step(least: float) -> float:
    """Return the next of 1, 2, 5, 10, 20... that is no less."""
    power = 10.0 ** math.floor(math.log10(max(least, SMALLEST_SCALE)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


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


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    return int(rows(connection, f"SELECT count(*) AS n FROM {relation}")[0]["n"])


def _minute(at: datetime.datetime) -> str:
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
