"""Verify: is a version still what was published? Every digest, count, part and index is looked at again."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import digest, sha256
from schemas.records import Pixels
from tasks.catalog import rows
from tasks.codecs import decode, decode_mask
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest
from tasks.pack import INDEX, PARTS


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and what."""

    where: str
    what: str


def verify_manifest(manifest: Manifest, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Compare a manifest's sums with its own list of shards, and with the catalogue."""
    name, shards = manifest["name"], manifest["shards"]
    if manifest["content"] != digest(*sorted(shard["sha256"] for shard in shards)):
        yield Finding(f"versions/{name}.json", "its list of shards is not the one it was published with")
    for field in ("samples", "bytes"):
        if manifest[field] != sum(shard[field] for shard in shards):
            yield Finding(f"versions/{name}.json", f"its {field} are not the sum of its shards'")
    recorded = rows(connection, "SELECT count(*) AS n, count(DISTINCT quadruplet_id) AS d FROM version_members"
                                " WHERE version = ?", [name])[0]  # fmt: skip
    if recorded["n"] != manifest["samples"] or recorded["d"] != manifest["samples"]:
        yield Finding(
            "catalog.duckdb",
            f"it has {recorded['d']} samples of version {name}, the manifest {manifest['samples']}; "
            "mend the shards, or run `omnirefiner rebuild`",
        )


def verify_shard(lake: Lake, entry: Row) -> list[Finding]:
    """Read a shard (as the manifest lists it) from end to end, beside its index; return what is wrong."""
    return list(_verify_shard(lake, entry))


def _verify_shard(lake: Lake, entry: Row) -> Iterator[Finding]:
    path = lake.shard(entry["sha256"])
    index_path = path.with_suffix(".parquet")
    for file in (path, index_path):
        if not file.is_file():
            yield Finding(_name(file), "it is missing")
            return
    index_bytes = index_path.read_bytes()
    if sha256(index_bytes) != entry["index_sha256"]:
        yield Finding(_name(index_path), "its digest is not the one in the manifest")
        return
    if path.stat().st_size != entry["bytes"] or _digest_of(path) != entry["sha256"]:
        yield Finding(_name(path), "its digest is not the one in its name: bytes were changed or lost")
    table = pq.read_table(pa.BufferReader(index_bytes))
    if not table.schema.equals(INDEX):
        yield Finding(_name(index_path), "its columns are not those of an index")
        return
    index = table.to_pylist()
    if len(index) != entry["samples"]:
        yield Finding(_name(index_path), f"it lists {len(index)} samples, the manifest {entry['samples']}")
    try:
        yield from _compare(path, index)
    except (tarfile.TarError, OSError) as error:
        yield Finding(_name(path), f"it cannot be read as a tar file: {error}")


def _compare(path: Path, index: Sequence[Row]) -> Iterator[Finding]:
    """Read the tar in order; its members must be the index's parts, at their offsets, and decode."""
    with tarfile.open(path, "r:") as tar:
        for row in index:
            parts: dict[str, bytes] = {}
            for part in PARTS:
                member, name = tar.next(), f"{row['key']}.{part}"
                if member is None or member.name != name or not member.isreg():
                    yield Finding(_name(path), f"{name} is not where the index says")
                    return
                if (member.offset_data, member.size) != (row[f"{part}.offset"], row[f"{part}.size"]):
                    yield Finding(_name(path), f"{name} has another place or length than the index says")
                    return
                file = tar.extractfile(member)
                parts[part] = file.read() if file else b""
                if sha256(parts[part]) != row[f"{part}.sha256"]:
                    yield Finding(_name(path), f"{name} has another digest than the index says")
            yield from (Finding(_name(path), f"{row['key']}: {what}") for what in _sample(row, parts))
        if tar.next() is not None:
            yield Finding(_name(path), "it holds more than the index says")


def _sample(row: Row, parts: dict[str, bytes]) -> Iterator[str]:
    """Check one sample: it decodes, its sizes agree, its input is its target outside the mask."""
    try:
        document = json.loads(parts["json"])
        input, target = decode(parts["input.webp"]), decode(parts["target.webp"])
        mask = decode_mask(parts["mask.png"])
        decode(parts["reference.jpg"])
    except (OSError, ValueError, SyntaxError) as error:
        yield f"a part does not decode: {error}"
        return
    if not isinstance(document, dict) or document.get("key") != row["key"]:
        yield "its json bears another key"
    size: tuple[int, int] = (row["height"], row["width"])
    if not input.shape[:2] == target.shape[:2] == mask.shape == size:
        yield "input, target, mask and index differ in size"
    elif not mask.any() or not _same_outside(input, target, mask):
        yield "input and target differ outside the mask, or the mask is empty"


def _same_outside(input: Pixels, target: Pixels, mask: np.ndarray) -> bool:
    return bool((input == target)[~mask].all())


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
