"""Versions: immutable manifests that name the shards of a dataset, and all that it was made with."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import VersionError
from schemas.ids import digest, sha256
from schemas.settings import Settings
from tasks import catalog
from tasks.code import code_version
from tasks.filters import in_force
from tasks.lake import Lake, put
from tasks.ledger import Row
from tasks.manifests import SCHEMA, Manifest, manifests, seal
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
    """Return the quadruplets that a version is made of: curated, and not in the benchmark reserve."""
    return catalog.rows(
        connection,
        "SELECT * FROM curated WHERE split_group <> 'benchmark' ORDER BY quadruplet_id",
    )


def kept_shards(
    lake: Lake, parent: Manifest | None, wanted: Sequence[Row], jpeg_quality: int
) -> tuple[list[Shard], list[Row]]:
    """Return the parent's shards that would be packed the same today, and the samples that none of them holds.

    Such a shard is there, whole in size, encoded as the settings say, and each of its samples is wanted, in its split
    group, and says what it would say now.
    """
    missing = {row["quadruplet_id"]: row for row in wanted}
    kept: list[Shard] = []
    for entry in parent["shards"] if parent else ():
        shard = Shard(**entry)
        keys = _keys_as_packed(lake, shard)
        same = keys is not None and shard.jpeg_quality == jpeg_quality and all(
            key in missing
            and missing[key]["split_group"] == shard.split_group
            and sha256(sample_json(missing[key])) == said
            for key, said in keys.items()
        )  # fmt: skip
        if same and keys:
            kept.append(shard)
            for key in keys:
                del missing[key]
    return kept, list(missing.values())


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
) -> Manifest:
    """Write the manifest of a version, and with it the version is there. `run` is the newest run's row."""
    listed = [vars(shard) for shard in shards]
    filters = in_force(lake)
    manifest: Manifest = {
        "schema": SCHEMA,
        "name": name,
        "sequence": 1 + max((int(m["sequence"]) for m in manifests(lake)), default=0),
        "parent": parent["name"] if parent else None,
        "content": digest(*sorted(shard.sha256 for shard in shards)),
        "samples": len(samples),
        "bytes": sum(shard.bytes for shard in shards),
        "shards": listed,
        "counts": {field: _counts(samples, field) for field in ("task", "category", "split_group")},
        "filters": filters.told() if filters else None,
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
