"""Compaction: the samples of a version in fewer, fuller shards, copied part by part from those it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass

from schemas.errors import LakeError
from schemas.ids import sha256
from tasks.deletions import deleted_keys
from tasks.lake import Lake, told
from tasks.ledger import Row
from tasks.manifests import Manifest
from tasks.pack import PARTS, Part, Sample, Shard, write_shard
from tasks.shards import read_index


@dataclass(frozen=True)
class Chunk:
    """Samples that one new shard takes: of each, the shard it lies in and its row of that shard's index."""

    split_group: str
    jpeg_quality: int
    samples: tuple[tuple[str, Row], ...]


def compaction(
    lake: Lake, manifest: Manifest, below: float, size: int, gone: Set[str]
) -> tuple[list[Shard], list[Chunk]]:
    """Return the shards of a version that stay, and the samples of the others in chunks of `size`, by their keys.

    A shard stays where its live samples are `below` or more of what it holds and of `size`, and none of the others must
    be `gone`. Raises LakeError where an index or a deletion vector is not what it was.
    """
    stay: list[Shard] = []
    sparse: dict[tuple[str, int], list[tuple[Shard, list[Row]]]] = defaultdict(list)
    for entry in manifest["shards"]:
        shard, deleted = Shard(**entry), deleted_keys(lake, entry)
        if shard.live >= below * max(size, shard.samples) and gone.isdisjoint(deleted):
            stay.append(shard)
            continue
        index = read_index(lake.shard(shard.sha256).with_suffix(".parquet"), shard.samples)
        live = [row for row in index if row["key"] not in deleted]
        sparse[shard.split_group, shard.jpeg_quality].append((shard, live))
    chunks: list[Chunk] = []
    for (split_group, jpeg_quality), shards in sorted(sparse.items()):
        if len(shards) == 1 and shards[0][0].deleted_sha256 is None:
            stay.append(shards[0][0])  # the last of its split group, and as full as can be
            continue
        samples = sorted(((shard.sha256, row) for shard, live in shards for row in live), key=lambda one: one[1]["key"])
        chunks += [
            Chunk(split_group, jpeg_quality, tuple(samples[start : start + size]))
            for start in range(0, len(samples), size)
        ]
    return stay, chunks


def repack(lake: Lake, chunk: Chunk) -> Shard:
    """Copy samples into a new shard. Raises LakeError where one is damaged, or the disk gives trouble."""
    digest, index_digest, size = write_shard(lake, (_copied(lake, *one) for one in chunk.samples))
    samples = len(chunk.samples)
    return Shard(digest, index_digest, samples, samples, size, chunk.split_group, chunk.jpeg_quality)


def _copied(lake: Lake, shard: str, row: Row) -> Sample:
    return Sample(row["key"], row["width"], row["height"], tuple(_parts(lake, shard, row)))


def _parts(lake: Lake, shard: str, row: Row) -> Iterator[Part]:
    path = lake.shard(shard)
    with told(lake), path.open("rb") as file:
        for part in PARTS:
            file.seek(row[f"{part}.offset"])
            data = file.read(row[f"{part}.size"])
            if sha256(data) != row[f"{part}.sha256"]:
                raise LakeError(
                    f"lake {lake.root}: shards/{path.name}: {row['key']}.{part} is damaged; restore it, "
                    "`omnirefiner verify` looks at all the others"
                )
            yield Part(data, row[f"{part}.sha256"])
