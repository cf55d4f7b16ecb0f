"""Versions: immutable manifests that name the shards of a dataset, and all that it was made with."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import VersionError
from schemas.ids import sha256
from schemas.settings import Settings, Shards
from tasks import catalog
from tasks.code import code_version
from tasks.deletions import deleted_keys, write_deletions
from tasks.filters import in_force
from tasks.lake import Lake, put
from tasks.ledger import Row
from tasks.lineage import models, prompts
from tasks.manifests import SCHEMA, Manifest, all_manifests, content_of, read_any_manifest, seal
from tasks.pack import Shard, sample_json
from tasks.shards import read_index

LICENSED = "coalesce(list_contains($licences, target_licence) AND list_contains($licences, reference_licence), false)"
UNKNOWN = "not known"  # a licence
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def refuse_name(lake: Lake, name: str) -> None:
    """Raise VersionError where a name cannot be a version's, or is taken: versions are immutable."""
    if not NAME.fullmatch(name):
        raise VersionError(f"version '{name}': a name has letters, digits, '.', '_', '-', at most 64; choose another")
    if lake.retirement(name).exists():
        raise VersionError(f"version '{name}': it is retired, and its name stays taken; choose another")
    if lake.manifest(name).exists() and not is_cut_short(lake, name):
        raise VersionError(f"version '{name}': the name is taken and versions never change; choose another")


def is_cut_short(lake: Lake, name: str) -> bool:
    """Say whether a version has its manifest and not yet its place in the catalogue, the last step of publishing."""
    if not (lake.manifest(name).exists() and lake.snapshot.exists()) or lake.retirement(name).exists():
        return False
    with catalog.read(lake) as connection:
        return not catalog.rows(connection, "SELECT 1 FROM versions WHERE version = ?", [name])


def members(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Return the quadruplets that a version is made of: curated, and not in the benchmark reserve."""
    return catalog.rows(
        connection,
        "SELECT * FROM curated WHERE split_group <> 'benchmark' ORDER BY quadruplet_id",
    )


def must_go(connection: duckdb.DuckDBPyConnection, licences: Sequence[str]) -> frozenset[str]:
    """Return the quadruplets that no shard of a next version may hold, not even behind a deletion vector."""
    found = catalog.rows(connection, "SELECT quadruplet_id FROM withdrawn")
    if licences:
        sql = f"SELECT quadruplet_id FROM all_quadruplets WHERE NOT ({LICENSED})"
        found += catalog.rows(connection, sql, {"licences": list(licences)})
    return frozenset(row["quadruplet_id"] for row in found)


def licensed(samples: Sequence[Row], licences: Sequence[str]) -> list[Row]:
    """Return the samples of whose target and reference the licence is known, and named; all where none is named.

    Raises VersionError where a named licence is nobody's: it may be misspelt.
    """
    known = {row[side] for row in samples for side in ("target_licence", "reference_licence")} - {None}
    for licence in licences:
        if licence not in known:
            there = ", ".join(sorted(known)) or "none"
            raise VersionError(f"licence '{licence}': no photo bears it (there are: {there}); name one of these")
    return [
        row for row in samples
        if not licences or (row["target_licence"] in licences and row["reference_licence"] in licences)
    ]  # fmt: skip


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
    preferences: Sequence[Shard] = (),
    benchmark: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the manifest of a version, and with it the version is there. `run` is the newest run's row.

    `benchmark` says how a benchmark was chosen, and what is known of its members.
    """
    fingerprints, filters = json.loads(run["fingerprints"]), in_force(lake)
    return put_manifest(lake, {
        "name": name,
        "kind": kind,
        "parent": parent["name"] if parent else None,
        "shards": [vars(shard) for shard in shards],
        "preferences": [vars(shard) for shard in preferences],
        "counts": {field: _counts(samples, field) for field in ("task", "category", "split_group")},
        "licences": {side: _counts(samples, f"{side}_licence") for side in ("target", "reference")},
        "filters": filters.told() if filters else None,
        "run_id": run["run_id"],
        "settings": settings.model_dump(mode="json"),
        "fingerprints": fingerprints,
        "models": models(settings),
        "prompts": prompts(settings, fingerprints),
        **({"benchmark": benchmark} if benchmark else {}),
    })  # fmt: skip


def refuse_withdrawn(lake: Lake, connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> frozenset[str]:
    """Raise VersionError where a version holds what no next one may; return what else no next one may.

    A benchmark version may hold the benchmark reserve, which is what it is made of.
    """
    of_reserve = "" if manifest["kind"] == "training" else "WHERE reason = 'taken-down'"
    found = catalog.rows(
        connection, f"SELECT quadruplet_id, min(reason) AS reason FROM withdrawn {of_reserve} GROUP BY 1"
    )
    gone = {row["quadruplet_id"]: row["reason"] for row in found}
    held = Counter(
        gone[key]
        for entry in manifest["shards"]
        for key in keys_of(lake, entry) - deleted_keys(lake, entry)
        if key in gone
    )
    if held:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(held.items()))
        raise VersionError(
            f"version '{manifest['name']}': it holds samples that no next version may ({why}); publish anew instead"
        )
    return frozenset(gone)


def keys_of(lake: Lake, entry: Row) -> frozenset[str]:
    """Return the keys of all samples in a shard (as a manifest lists it), by its index."""
    index = lake.shard(entry["sha256"]).with_suffix(".parquet")
    return frozenset(row["key"] for row in read_index(index, entry["samples"]))


def write_compacted(lake: Lake, name: str, parent: Manifest, shards: Sequence[Shard]) -> Manifest:
    """Write the manifest of a version that has the samples of its parent in other shards."""
    return put_manifest(lake, {**parent, "name": name, "parent": parent["name"], "shards": [vars(s) for s in shards]})


def put_manifest(lake: Lake, told: Mapping[str, Any]) -> Manifest:
    """Complete and seal what is `told` of a version, and write it where its name is free."""
    name, shards, preferences = told["name"], told["shards"], told["preferences"]
    manifest: Manifest = {
        **{key: value for key, value in told.items() if key != "seal"},
        "schema": SCHEMA,
        "sequence": 1 + max((int(m["sequence"]) for m in all_manifests(lake)), default=0),
        "content": content_of([*shards, *preferences]),
        "samples": sum(shard["live"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in (*shards, *preferences)),
        "code": code_version(),
        "published_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    manifest["seal"] = seal(manifest)
    if not put(lake, lake.manifest(name), (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()):
        raise VersionError(f"version '{name}': somebody else published it meanwhile; choose another name")
    return manifest


def _counts(samples: Sequence[Row], field: str) -> Mapping[str, int]:
    return dict(sorted(Counter(row[field] or UNKNOWN for row in samples).items()))


def retire(lake: Lake, name: str, reason: str) -> None:
    """Withdraw a version for good: nobody reads it any more, and `gc` may delete what no other version needs.

    Its manifest stays, and its name stays taken.
    """
    read_any_manifest(lake, name)
    told = {"version": name, "reason": reason, "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    put(lake, lake.retirement(name), (json.dumps(told) + "\n").encode())
