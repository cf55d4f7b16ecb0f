"""Versions: immutable manifests that name the shards of a dataset, and all that it was made with."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import VersionError
from schemas.ids import sha256
from schemas.settings import Settings, Shards
from tasks import catalog
from tasks.code import code_version
from tasks.deletions import write_deletions
from tasks.lake import Lake, put
from tasks.ledger import Row
from tasks.manifests import SCHEMA, Manifest, content_of, manifests, seal
from tasks.pack import Shard, sample_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def refuse_name(lake: Lake, name: str) -> None:
    """Raise VersionError where a name cannot be a version's, or is taken: versions are immutable."""
    if not NAME.fullmatch(name):
        raise VersionError(f"version '{name}': a name has letters, digits, '.', '_', '-', at most 64; choose another")
    if lake.manifest(name).exists() and not is_cut_short(lake, name):
        raise VersionError(f"version '{name}': the name is taken and versions never change; choose another")


def is_cut_short(lake: Lake, name: str) -> bool:
    """Say whether a version has its manifest and not yet its place in the catalogue, the last step of publishing."""
    if not (lake.manifest(name).exists() and lake.snapshot.exists()):
        return False
    with catalog.read(lake) as connection:
        return not catalog.rows(connection, "SELECT 1 FROM versions WHERE version = ?", [name])


def members(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the quadruplets that a version is made of: accepted, and not in the benchmark reserve."""
    return catalog.rows(
        connection,
        "SELECT * FROM quadruplets WHERE accepted AND split_group <> 'benchmark' ORDER BY quadruplet_id",
    )


def must_go(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the quadruplets that no shard of a next version may hold, not even behind a deletion vector."""
    found = catalog.rows(connection, "SELECT quadruplet_id FROM all_quadruplets WHERE split_group = 'benchmark'")
    return frozenset(row["quadruplet_id"] for row in found)


def kept_shards(
    lake: Lake, parent: Manifest | None, wanted: Sequence[Row], gone: Set[str], settings: Shards
) -> tuple[list[Shard], list[Row]]:
    """Return the parent's shards that are kept, and the wanted samples that none of them holds.

    Such a shard is there, whole in size, encoded as the settings say, and holds nothing that must be gone. Enough of
    its samples (`min_live`) are wanted, in its split group, and say what they would say now; a deletion vector names
    the others.
    """
    missing = {row["quadruplet_id"]: row for row in wanted}
    kept: list[Shard] = []
    for entry in parent["shards"] if parent else ():
        shard = Shard(**entry)
        said = _keys_as_packed(lake, shard)
        if said is None or shard.jpeg_quality != settings.jpeg_quality or not gone.isdisjoint(said):
            continue
        live = [key for key in said if key in missing and _as_packed(missing[key], shard, said[key])]
        if live and len(live) >= settings.min_live * shard.samples:
            vector = write_deletions(lake, said.keys() - set(live))
            kept.append(replace(shard, live=len(live), deleted_sha256=vector))
            for key in live:
                del missing[key]
    return kept, list(missing.values())


def _as_packed(row: Row, shard: Shard, json_sha256: str) -> bool:
    """Say whether a shard holds a sample as it would be packed now."""
    return bool(row["split_group"] == shard.split_group) and sha256(sample_json(row)) == json_sha256


def _keys_as_packed(lake: Lake, shard: Shard) -> dict[str, str] | None:
    """Return a shard's keys with the digests of their json; None where shard or index are not what they were."""
    path = lake.shard(shard.sha256)
    index = path.with_suffix(".parquet")
    if not (path.is_file() and path.stat().st_size == shard.bytes and index.is_file()):
        return None
    data = index.read_bytes()
    if sha256(data) != shard.index_sha256:
        return None
    table = pq.read_table(pa.BufferReader(data), columns=["key", "json.sha256"])
    return dict(zip(table["key"].to_pylist(), table["json.sha256"].to_pylist(), strict=True))


def write_manifest(
    lake: Lake,
    name: str,
    shards: Sequence[Shard],
    samples: Sequence[Row],
    parent: Manifest | None,
    run: Row,
    settings: Settings,
    kind: Literal["training", "benchmark"] = "training",
) -> Manifest:
    """Write the manifest of a version, and with it the version is there. `run` is the newest run's row."""
    listed = [vars(shard) for shard in shards]
    manifest: Manifest = {
        "schema": SCHEMA,
        "name": name,
        "kind": kind,
        "sequence": 1 + max((int(m["sequence"]) for m in manifests(lake)), default=0),
        "parent": parent["name"] if parent else None,
        "content": content_of(listed),
        "samples": len(samples),
        "bytes": sum(shard.bytes for shard in shards),
        "shards": listed,
        "counts": {field: _counts(samples, field) for field in ("task", "category", "split_group")},
        "run_id": run["run_id"],
        "settings": settings.model_dump(mode="json"),
        "fingerprints": json.loads(run["fingerprints"]),
        "code": code_version(),
        "published_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    manifest["seal"] = seal(manifest)
    if not put(lake, lake.manifest(name), (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()):
        raise VersionError(f"version '{name}': somebody else published it meanwhile; choose another name")
    return manifest


def _counts(samples: Sequence[Row], field: str) -> Mapping[str, int]:
    return dict(sorted(Counter(row[field] for row in samples).items()))
