"""What no version and no answer needs any more: first marked with the day, later deleted if it is still not needed.

A version that is not retired needs its shards and deletion vectors; an answer of the ledger, whatever its settings,
needs its photos, edits and masks, so that going back to those settings stays free. What was made of a photo that was
taken down is needed only as long as a version holds it, and the photo's own bytes not even then. Of a benchmark version
the indexes stay for good: the leakage guard reads them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

import duckdb
import pyarrow as pa

from schemas.ledger import SCHEMAS
from tasks.catalog import rows
from tasks.lake import Lake, swap, told
from tasks.manifests import all_manifests

OWNERS = ("image_id", "target_id", "reference_id")  # columns that say of which photos a row of the ledger is
SHARED = ("shards", "deletions", "images", "artifacts")  # folders of files named by their digests

Marks = dict[str, str]  # path within the lake -> when it was first found to be unneeded, ISO 8601


def unneeded(lake: Lake, connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return the files that nothing needs, by their path within the lake, with their bytes.

    Raises VersionError where a manifest is damaged: nobody knows then what that version needs.
    """
    needed = _by_versions(lake) | _by_answers(connection)
    found: dict[str, int] = {}
    for folder in SHARED:
        for path in sorted((lake.root / folder).rglob("*")):
            name = str(path.relative_to(lake.root))
            if path.is_file() and f"{folder}/{path.name}" not in needed and f"{folder}/{path.stem}" not in needed:
                found[name] = path.stat().st_size
    return found


def _by_versions(lake: Lake) -> set[str]:
    needed: set[str] = set()
    for manifest in all_manifests(lake):
        retired = lake.retirement(manifest["name"]).exists()
        if retired and manifest["kind"] != "benchmark":
            continue
        for shard in (*manifest["shards"], *manifest["preferences"]):
            needed |= {f"shards/{shard['sha256']}.parquet", f"deletions/{shard['deleted_sha256']}.parquet"}
            if not retired:
                needed.add(f"shards/{shard['sha256']}.tar")
    return needed


def _by_answers(connection: duckdb.DuckDBPyConnection) -> set[str]:
    needed = {
        f"images/{row['id']}"
        for row in rows(
            connection, "SELECT DISTINCT image_id AS id FROM all_sources ANTI JOIN taken_down USING (image_id)"
        )
    }
    held = "SELECT quadruplet_id FROM version_members"
    for stage, schema in SCHEMAS.items():
        owners = [name for name in OWNERS if name in schema.names]
        free = " AND ".join(f"coalesce({name} NOT IN (SELECT image_id FROM taken_down), true)" for name in owners)
        kept = f"item_id IN ({held})" if stage == "restore" else "false"
        for column in _digests(schema):
            wanted = f"{column} IS NOT NULL AND ({free or 'true'} OR {kept})"
            sql = f"SELECT DISTINCT {column} AS id FROM ledger_{stage} WHERE {wanted}"
            needed |= {f"artifacts/{row['id']}" for row in rows(connection, sql)}
    return needed


def _digests(schema: pa.Schema) -> Iterator[str]:
    """Yield the columns of the ledger that name artifacts."""
    return (field.name for field in schema if field.name.endswith("_sha256") and pa.types.is_string(field.type))


def marks(lake: Lake) -> Marks:
    """Return what was found to be unneeded, and when first."""
    with suppress(FileNotFoundError, ValueError):  # one that is torn begins anew
        found = json.loads(lake.unneeded.read_bytes())
        if isinstance(found, dict):
            return {str(name): str(at) for name, at in found.items()}
    return {}


def mark(lake: Lake, found: Mapping[str, int]) -> Marks:
    """Record what is unneeded now; what was before keeps its day, what is needed again loses it."""
    before, now = marks(lake), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    marked = {name: before.get(name, now) for name in found}
    temporary = lake.temporary()
    with told(lake):
        temporary.write_text(json.dumps(marked, indent=1, sort_keys=True) + "\n")
    swap(lake, lake.unneeded, temporary)
    return marked


def forget_marks(lake: Lake) -> None:
    """Let the time of everything begin anew: a version is about to need less."""
    with told(lake):
        lake.unneeded.unlink(missing_ok=True)


def old_enough(marked: Marks, days: float) -> list[str]:
    """Return what was marked so many days ago or earlier."""
    now = datetime.datetime.now(datetime.UTC)
    return [
        name
        for name, at in marked.items()
        if now - datetime.datetime.fromisoformat(at) >= datetime.timedelta(days=days)
    ]


def delete(lake: Lake, names: list[str]) -> None:
    """Delete files, one after the other: nothing needs them, so that it may end anywhere."""
    with told(lake):
        for name in names:
            (lake.root / name).unlink(missing_ok=True)
