"""Verify: is a version still what was published? Every digest, count, part and index is looked at again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from schemas.ids import sha256
from schemas.ledger import SCHEMAS
from schemas.records import Pixels
from tasks.catalog import files_in, rows
from tasks.deletions import DeletionsError, deleted_keys
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest, content_of, names, sound_manifests
from tasks.pack import PARTS
from tasks.shards import ShardError, StoredSample, decode_part, read_index, read_samples

STALE = ("catalog.duckdb", "make it anew with `omnirefiner rebuild`")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and what."""

    where: str
    what: str


def verify_manifest(manifest: Manifest, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Compare a manifest's sums with its own list of shards, and with the catalogue."""
    name, shards = manifest["name"], manifest["shards"]
    every = [*shards, *manifest["preferences"]]
    if manifest["content"] != content_of(every):
        yield Finding(f"versions/{name}.json", "its list of shards is not the one it was published with")
    for field, told in (("samples", [one["live"] for one in shards]), ("bytes", [one["bytes"] for one in every])):
        if manifest[field] != sum(told):
            yield Finding(f"versions/{name}.json", f"its {field} are not the sum of its shards'")
    recorded = rows(connection, "SELECT count(*) AS n, count(DISTINCT quadruplet_id) AS d FROM version_members"
                                " WHERE version = ?", [name])[0]  # fmt: skip
    if recorded["n"] != manifest["samples"] or recorded["d"] != manifest["samples"]:
        yield Finding(
            "catalog.duckdb",
            f"it has {recorded['d']} samples of version {name}, the manifest {manifest['samples']}; "
            "mend the shards, or run `omnirefiner rebuild`",
        )


def verify_catalogue(lake: Lake, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Compare the catalogue with the ledger and the manifests that it is made from."""
    recorded = rows(connection, "SELECT stage, files, names FROM ledger_files")
    seen = {row["stage"]: (row["files"], row["names"]) for row in recorded}
    older = [stage for stage in SCHEMAS if files_in(lake, stage) != seen.get(stage)]
    if older:
        yield Finding(STALE[0], f"it is not of the ledger as it is now ({', '.join(older)}); {STALE[1]}")
    known = {row["version"] for row in rows(connection, "SELECT version FROM versions")}
    sound = {manifest["name"] for manifest in sound_manifests(lake)}
    for name in sorted(sound - known):
        yield Finding(STALE[0], f"it does not know version {name}, which is published; {STALE[1]}")
    for name in sorted(known - set(names(lake))):
        yield Finding(
            STALE[0], f"it knows version {name}, of which there is no manifest; restore that, or else {STALE[1]}"
        )


def verify_shard(lake: Lake, entry: Row, *, pasted: bool = True, parts: Sequence[str] = PARTS) -> list[Finding]:
    """Read a shard (as the manifest lists it) from end to end, beside its index; return what is wrong.

    Inputs that were not `pasted` back may differ from their targets anywhere. `parts` are those of its samples.
    """
    return list(_verify_shard(lake, entry, pasted, parts))


def verify_deletions(lake: Lake, entry: Row) -> list[Finding]:
    """Look at what a version leaves out of a shard (as its manifest lists it): the vector must fit the index."""
    if entry["deleted_sha256"] is None:
        whole = entry["live"] == entry["samples"]
        return (
            []
            if whole
            else [Finding(f"shards/{entry['sha256']}.tar", "samples are left out, and no vector says which")]
        )
    where = f"deletions/{entry['deleted_sha256']}.parquet"
    try:
        deleted = deleted_keys(lake, entry)
        keys = {row["key"] for row in read_index(lake.shard(entry["sha256"]).with_suffix(".parquet"), entry["samples"])}
    except DeletionsError as error:
        return [Finding(where, str(error))]
    except ShardError:
        return []  # `verify_shard` names it
    return [] if deleted <= keys else [Finding(where, f"it names samples that shard {entry['sha256']} does not hold")]


def _verify_shard(lake: Lake, entry: Row, pasted: bool, parts: Sequence[str]) -> Iterator[Finding]:
    path = lake.shard(entry["sha256"])
    index_path = path.with_suffix(".parquet")
    for file in (path, index_path):
        if not file.is_file():
            yield Finding(_name(file), "it is missing")
            return
    try:
        if _digest_of(index_path) != entry["index_sha256"]:
            yield Finding(_name(index_path), "its digest is not the one in the manifest")
            return
        if path.stat().st_size != entry["bytes"] or _digest_of(path) != entry["sha256"]:
            yield Finding(_name(path), "its digest is not the one in its name: bytes were changed or lost")
        try:
            index = read_index(index_path, entry["samples"], parts)
        except ShardError as error:
            yield Finding(_name(index_path), str(error))
            return
        yield from (Finding(_name(path), what) for what in _compare(path, index, pasted, parts))
    except OSError as error:
        yield Finding(_name(path), f"it or its index cannot be read: {error.strerror}")


def _compare(path: Path, index: Sequence[Row], pasted: bool, parts: Sequence[str]) -> Iterator[str]:
    """Read the shard in order; its samples must be the index's, at their offsets, and decode."""
    rows_left = iter(index)
    try:
        for sample in read_samples(path, parts):
            row = next(rows_left, None)
            if row is None:
                yield "it holds more than the index says"
                return
            if row["key"] != sample.key:
                yield f"{row['key']} is not where the index says"
                return
            for part, stored in sample.parts.items():
                if (stored.offset, len(stored.data)) != (row[f"{part}.offset"], row[f"{part}.size"]):
                    yield f"{sample.key}.{part} has another place or length than the index says"
                    return
                if sha256(stored.data) != row[f"{part}.sha256"]:
                    yield f"{sample.key}.{part} has another digest than the index says"
            yield from (f"{sample.key}: {what}" for what in _sample(row, sample, pasted))
    except ShardError as error:
        yield str(error)
        return
    if next(rows_left, None) is not None:
        yield "it ends before its index does"


def _sample(row: Row, sample: StoredSample, pasted: bool) -> Iterator[str]:
    """Check one sample: it decodes, its sizes agree, its input is its target outside the mask."""
    try:
        decoded = {part: decode_part(part, stored.data) for part, stored in sample.parts.items()}
    except ShardError as error:
        yield str(error)
        return
    target, mask = decoded["target.webp"], decoded["mask.png"]
    if decoded["json"].get("key") != sample.key:
        yield "its json bears another key"
    input = decoded.get("input.webp", target)  # a preference has none, and its edits are of any size
    if not input.shape[:2] == target.shape[:2] == mask.shape == (row["height"], row["width"]):
        yield "input, target, mask and index differ in size"
    elif not mask.any() or (pasted and not _same_outside(input, target, mask)):
        yield "input and target differ outside the mask, or the mask is empty"


def _same_outside(input: Pixels, target: Pixels, mask: np.ndarray) -> bool:
    return bool((input == target)[~mask].all())


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
