"""Distributions of samples: those of the newest run, of a version, or of two versions side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from schemas.errors import LakeError
from tasks.catalog import rows
from tasks.lake import Lake
from tasks.manifests import Manifest

BARS = {
    "category": "Category",
    "task": "Task",
    "split_group": "Split group",
    "operation": "Operation",
    "size": "Size, px",
}
BINS = 24  # of a histogram, about
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


def gather(connection: duckdb.DuckDBPyConnection, lake: Lake, manifests: Sequence[Manifest]) -> None:
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
        if count(connection, f"reported WHERE side = '{side}'") != manifest["samples"]:
            raise LakeError(
                f"lake {lake.root}: its catalogue does not hold all of version '{manifest['name']}'; "
                "make it anew with `omnirefiner rebuild`"
            )


def scores_there(connection: duckdb.DuckDBPyConnection) -> tuple[Score, ...]:
    """Return the scores that there are of what was gathered."""
    found = (score for score in CURATED if count(connection, f"reported WHERE {score.column} IS NOT NULL"))
    return (*SCORES, *found)


def bars(connection: duckdb.DuckDBPyConnection, column: str, name: str) -> dict[str, Any]:
    """Return how many samples of each side have each value, and the shift from one side to the other."""
    value = "concat(width, ' × ', height)" if column == "size" else column
    sql = f"""SELECT {value} AS name, count(*) FILTER (side = 'a') AS a, count(*) FILTER (side = 'b') AS b
              FROM reported GROUP BY 1 ORDER BY a + b DESC, 1"""
    found = [[row["name"], row["a"], row["b"]] for row in rows(connection, sql)]
    shift = _shift([row[1] for row in found], [row[2] for row in found])
    return {"column": column, "name": name, "rows": found, "shift": shift}


def histogram(connection: duckdb.DuckDBPyConnection, score: Score) -> dict[str, Any]:
    """Return counts in equal bins with round edges, the same for both sides, and the shift from one to the other.

    Of each side that has any samples there are the 5%, 50% and 95% quantiles.
    """
    told = {"column": score.column, "name": score.name, "unit": score.unit}
    value = f"{score.column}::DOUBLE * {score.factor}"
    of = f"FROM reported WHERE isfinite({score.column})"
    (ends,) = rows(connection, f"SELECT min({value}) AS low, max({value}) AS high {of}")
    if ends["low"] is None:
        return told | {"start": 0, "step": 1, "a": [], "b": [], "quantiles": {}, "shift": 0.0}
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
    shift = _shift(counts["a"], counts["b"])
    return told | {"start": first * step, "step": step, **counts, "quantiles": quantiles, "shift": shift}


def _shift(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the share of samples that would have to change their value (bin) for both sides to be alike, 0..1.

    It is the total variation distance of the two; 0 where one of them has no samples.
    """
    if not (sum(one) and sum(other)):
        return 0.0
    return sum(abs(a / sum(one) - b / sum(other)) for a, b in zip(one, other, strict=True)) / 2


def _round_step(least: float) -> float:
    """Return the next of 1, 2, 5, 10, 20... that is no less."""
    power = 10.0 ** math.floor(math.log10(max(least, SMALLEST_SCALE)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))


def count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Return the number of rows of a relation."""
    return int(rows(connection, f"SELECT count(*) AS n FROM {relation}")[0]["n"])
