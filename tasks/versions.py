"""Versions: immutable manifests that name the shards of a dataset, and all that it was made with."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from schemas.errors import VersionError
from schemas.ids import digest
from tasks.catalog import rows
from tasks.code import code_version
from tasks.lake import Lake, put
from tasks.ledger import Row
from tasks.pack import Shard

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SCHEMA = 1

Manifest = dict[str, Any]


def refuse_name(lake: Lake, name: str) -> None:
    """Raise VersionError where a name cannot be a version's, or is taken: versions are immutable."""
    if not NAME.fullmatch(name):
        raise VersionError(f"version '{name}': a name has letters, digits, '.', '_', '-', at most 64; choose another")
    if lake.manifest(name).exists():
        raise VersionError(f"version '{name}': the name is taken and versions never change; choose another")


def manifests(lake: Lake) -> list[Manifest]:
    """Return the manifests of all versions, oldest first."""
    names = (path.stem for path in (lake.root / "versions").glob("[!.]*.json"))
    return sorted((read_manifest(lake, name) for name in names), key=lambda manifest: int(manifest["sequence"]))


def read_manifest(lake: Lake, name: str) -> Manifest:
    """Return a version's manifest. Raises VersionError where there is none or it cannot be read."""
    path: Path = lake.manifest(name)
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("[!.]*.json"))) or "none"
        raise VersionError(f"version '{name}': not in the lake (there are: {known}); publish it first") from None
    except (OSError, ValueError) as error:
        raise VersionError(f"version '{name}': its manifest cannot be read ({error}); restore {path.name}") from None
    if not isinstance(manifest, dict) or manifest.get("name") != name or manifest.get("schema") != SCHEMA:
        raise VersionError(f"version '{name}': its manifest is damaged or of another schema; restore {path.name}")
    return manifest


def members(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the quadruplets that a version is made of: accepted, and not in the benchmark reserve."""
    return rows(
        connection,
        "SELECT * FROM quadruplets WHERE accepted AND split_group <> 'benchmark' ORDER BY quadruplet_id",
    )


def kept_shards(lake: Lake, parent: Manifest | None, wanted: Sequence[Row]) -> tuple[list[Shard], list[Row]]:
    """Return the parent's shards that hold only wanted samples, and the samples that none of them holds."""
    missing = {row["quadruplet_id"]: row for row in wanted}
    kept: list[Shard] = []
    for entry in parent["shards"] if parent else ():
        keys = pq.read_table(lake.shard(entry["sha256"]).with_suffix(".parquet"), columns=["key"])["key"].to_pylist()
        if all(key in missing for key in keys):
            kept.append(Shard(**entry))
            for key in keys:
                del missing[key]
    return kept, list(missing.values())


def write_manifest(
    lake: Lake, name: str, shards: Sequence[Shard], samples: Sequence[Row], parent: Manifest | None, run: Row
) -> Manifest:
    """Write the manifest of a version, and with it the version is there. `run` is the newest run's row."""
    listed = [vars(shard) for shard in shards]
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
        "run_id": run["run_id"],
        "settings": json.loads(run["settings"]),
        "fingerprints": json.loads(run["fingerprints"]),
        "code": code_version(),
        "published_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if not put(lake.manifest(name), (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()):
        raise VersionError(f"version '{name}': somebody else published it meanwhile; choose another name")
    return manifest


def _counts(samples: Sequence[Row], field: str) -> Mapping[str, int]:
    return dict(sorted(Counter(row[field] for row in samples).items()))
