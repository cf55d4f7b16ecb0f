"""Takedowns: photos that must no longer be used, by their digest, so that the same bytes are not taken in again."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
from pydantic import BaseModel

from schemas.errors import ProjectError
from schemas.ids import digest
from tasks import ledger
from tasks.catalog import rows
from tasks.lake import Lake

DIGEST = re.compile(r"[0-9a-f]{64}")


class TakedownError(ProjectError):
    """A source that is nowhere in the lake, or stands for several things."""


class Photo(BaseModel):
    """A photo that a takedown names, or that shows the same as one."""

    image_id: str
    path: str
    product: str | None
    named: bool


class Holder(BaseModel):
    """A version that holds what was taken down: in how many of its samples, and in how many that it leaves out."""

    version: str
    kind: str
    samples: int
    left_out: int


def photos_of(connection: duckdb.DuckDBPyConnection, source: str) -> list[Photo]:
    """Return the photos that a path, a product or an image's whole digest stands for, whatever lists them still.

    A digest that the lake does not know is a photo as well: one that is not to be taken in.
    Raises TakedownError where nothing answers to it, or both a path and a product do.
    """
    whole = "concat(root, '/', path)"
    matches = {
        "photo": ("image_id = ?", [source]),
        "path": (f"path = ? OR {whole} = ? OR {whole} = ?", [source, source, str(Path(source).resolve())]),
        "product": ("product = ?", [source]),
    }
    found = {
        kind: rows(connection, f"SELECT DISTINCT image_id FROM all_sources WHERE {condition}", asked)
        for kind, (condition, asked) in matches.items()
    }
    answering = [kind for kind in found if found[kind]]
    if len(answering) > 1:
        raise TakedownError(f"takedown {source}: it is a {' and a '.join(answering)}; give the photos' digests")
    if not answering and not DIGEST.fullmatch(source):
        raise TakedownError(f"takedown {source}: no photo has this path, product or digest (all 64 digits)")
    named = [row["image_id"] for kind in answering for row in found[kind]] or [source]
    sql = """WITH named AS (SELECT unnest($ids) AS image_id), meant AS (
                 FROM named UNION SELECT c.image_id FROM clustered c
                 WHERE cluster_id IN (SELECT cluster_id FROM clustered SEMI JOIN named USING (image_id)))
             SELECT image_id, coalesce(min(path), 'not in the lake') AS path, min(product) AS product,
                    image_id IN (FROM named) AS named
             FROM meant LEFT JOIN all_sources USING (image_id) GROUP BY image_id ORDER BY named DESC, path, image_id"""
    return [Photo(**row) for row in rows(connection, sql, {"ids": named})]


def holders_of(connection: duckdb.DuckDBPyConnection, photos: Sequence[Photo]) -> list[Holder]:
    """Return the versions whose shards hold something made of these photos, oldest first."""
    sql = """WITH made AS (SELECT DISTINCT quadruplet_id FROM all_quadruplets
                           WHERE list_contains($ids, target_id) OR list_contains($ids, reference_id)),
                  inside AS (SELECT DISTINCT v.version, m.quadruplet_id FROM ledger_version_shards v
                             JOIN ledger_shard_members m USING (shard_sha256) SEMI JOIN made USING (quadruplet_id))
             SELECT i.version, v.kind, count(m.quadruplet_id) AS samples, count(*) - count(m.quadruplet_id) AS left_out
             FROM inside i JOIN versions v USING (version)
             LEFT JOIN version_members m ON m.version = i.version AND m.quadruplet_id = i.quadruplet_id
             GROUP BY i.version, v.kind, v.sequence ORDER BY v.sequence"""
    return [Holder(**row) for row in rows(connection, sql, {"ids": [photo.image_id for photo in photos]})]


def still_held(connection: duckdb.DuckDBPyConnection) -> list[Holder]:
    """Return the versions that hold anything made of what was ever taken down, oldest first."""
    found = rows(connection, "SELECT image_id, '' AS path, NULL AS product, true AS named FROM taken_down")
    return holders_of(connection, [Photo(**row) for row in found])


def record_takedown(lake: Lake, source: str, photos: Sequence[Photo], reason: str) -> None:
    """Record, for good, that these photos must no longer be used."""
    run = ledger.newest_run(lake)
    run_id = run["run_id"] if run else "000000"
    ids = sorted(photo.image_id for photo in photos)
    stamp = {"asked": source, "reason": reason, "run_id": run_id, "at": datetime.datetime.now(datetime.UTC)}
    name = digest("takedown", source, reason, ids)
    ledger.write(lake, "takedowns", run_id, name, [{"image_id": image_id, **stamp} for image_id in ids])


def taken_down(lake: Lake) -> dict[str, str]:
    """Return the digests of photos that takedowns name, each with the reason."""
    return {row["image_id"]: row["reason"] for row in ledger.read_all(lake, "takedowns")}
