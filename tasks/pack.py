"""Shards: plain tar files of samples, named by their digest, each with an index that says where every part lies."""

import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import LakeError
from schemas.ids import canonical, sha256
from tasks.codecs import decode, encode_jpeg, read_artifact
from tasks.lake import Lake, put, put_file, told
from tasks.ledger import Row

PARTS = ("input.webp", "json", "mask.png", "reference.jpg", "target.webp")  # in every sample, in this order
BLOCK = tarfile.BLOCKSIZE
END = 2 * BLOCK  # two empty blocks end a tar file
EMPTY = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)  # no time, no owner: nothing that differs between two packings
EMPTY_SUM = int(EMPTY[148:154], 8) - sum(b"0" * 11)  # the checksum of an empty header, less its size's digits
AHEAD = 4  # samples that may wait to be written
FLUSH = 8 << 20  # bytes after which the disk is told to begin, so that little is left for the fsync at the end
DAMAGED = "it is there already, and damaged; delete it and run the same command again, which writes it anew"


def index_of(parts: Sequence[str]) -> pa.Schema:
    """Return the columns of the index of a shard whose samples have these parts."""
    columns = [("key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    for part in parts:
        columns += [(f"{part}.offset", pa.int64()), (f"{part}.size", pa.int64()), (f"{part}.sha256", pa.string())]
    return pa.schema(columns)


INDEX = index_of(PARTS)


@dataclass(frozen=True)
class Shard:
    """A packed shard as the manifest lists it."""

    sha256: str
    index_sha256: str
    samples: int
    live: int  # samples that are the version's
    bytes: int
    split_group: str  # of every sample in it
    jpeg_quality: int  # of the references; 0 where there are none
    deleted_sha256: str | None = None  # of the vector that names the samples that are not (tasks.deletions)


@dataclass(frozen=True)
class Part:
    """One part of a sample: its bytes, and their digest, taken from these very bytes."""

    data: bytes
    sha256: str


@dataclass(frozen=True)
class Sample:
    """What is written of a sample: its key (ASCII, at most 80 characters), its size in px, its parts in order."""

    key: str
    width: int
    height: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Laid:
    """A tar that was written: its digest, its bytes, and where in it every part lies (rows as INDEX)."""

    sha256: str
    bytes: int
    index: list[Row]


def pack_shard(lake: Lake, quadruplets: Sequence[Row], jpeg_quality: int) -> Shard:
    """Pack quadruplets (rows of the view, of one split group) into a shard: the same rows give the same bytes.

    Raises LakeError where an artifact is missing or damaged, or the disk gives trouble; nothing half-written remains.
    """
    (split_group,) = {row["split_group"] for row in quadruplets}

    @lru_cache(maxsize=64)
    def reference(digest: str) -> Part:
        return _made(encode_jpeg(decode(_artifact(lake, digest, "webp").data), jpeg_quality))

    def sample(row: Row) -> Sample:
        parts = (
            _artifact(lake, row["input_sha256"], "webp"),
            _made(sample_json(row)),
            _artifact(lake, row["mask_sha256"], "png"),
            reference(row["reference_sha256"]),
            _artifact(lake, row["target_sha256"], "webp"),
        )
        return Sample(row["quadruplet_id"], row["width"], row["height"], parts)

    digest, index_digest, size = write_shard(lake, map(sample, quadruplets))
    samples = len(quadruplets)
    return Shard(digest, index_digest, samples, samples, size, split_group, jpeg_quality)


def write_shard(lake: Lake, samples: Iterable[Sample], parts: Sequence[str] = PARTS) -> tuple[str, str, int]:
    """Write samples into a shard and its index, durably; return the digests of both, and the shard's bytes.

    Raises LakeError where the disk gives trouble, or another file has the shard's or the index's name.
    """
    temporary = lake.temporary()
    try:
        with told(lake), temporary.open("xb") as file:
            laid = lay_samples(file, samples, parts)
        path = lake.shard(laid.sha256)
        index_digest = _put_index(lake, path.with_suffix(".parquet"), laid.index, index_of(parts))
        _put_tar(lake, path, temporary)
        return laid.sha256, index_digest, laid.bytes
    finally:
        with suppress(OSError):
            temporary.unlink()


def lay_samples(file: IO[bytes], samples: Iterable[Sample], parts: Sequence[str] = PARTS) -> Laid:
    """Write samples as a tar into a new file, and sync it: the same samples give the same bytes.

    The tar's own bytes are written and hashed on a second core, while this one makes the next samples and their
    digests.
    """
    hasher = hashlib.sha256()
    index: list[Row] = []
    size = flushed = 0
    with ThreadPoolExecutor(1) as second_core:

        def append(blocks: Sequence[bytes]) -> None:
            nonlocal flushed
            for block in blocks:
                file.write(block)
                hasher.update(block)
            if file.tell() - flushed >= FLUSH:
                _begin_flush(file.fileno(), flushed, file.tell() - flushed)
                flushed = file.tell()

        waiting: deque[Future[None]] = deque()
        for sample in samples:
            entry: Row = {"key": sample.key, "width": sample.width, "height": sample.height}
            blocks: list[bytes] = []
            for name, part in zip(parts, sample.parts, strict=True):
                length = len(part.data)
                blocks += (_header(f"{sample.key}.{name}", length), part.data, bytes(-length % BLOCK))
                entry |= {f"{name}.offset": size + BLOCK, f"{name}.size": length, f"{name}.sha256": part.sha256}
                size += BLOCK + length + -length % BLOCK
            index.append(entry)
            waiting.append(second_core.submit(append, blocks))
            if len(waiting) > AHEAD:
                waiting.popleft().result()
        waiting.append(second_core.submit(append, [bytes(END)]))
        for done in waiting:
            done.result()
    file.flush()
    os.fsync(file.fileno())
    return Laid(hasher.hexdigest(), size + END, index)


def sample_json(row: Row) -> bytes:
    """Return the part of a sample that says what it is: all that never changes, and nothing that may."""
    return canonical({
        "key": row["quadruplet_id"],
        "task": row["task"],
        "category": row["category"],
        "region": json.loads(row["instruction"])["region"],
        "edit_instruction": row["edit_instruction"],
        "restore_instruction": row["restore_instruction"],
        "target_image": row["target_id"],
        "reference_image": row["reference_id"],
        "target_licence": row["target_licence"],
        "reference_licence": row["reference_licence"],
    }).encode()  # fmt: skip


def _artifact(lake: Lake, digest: str, extension: str) -> Part:
    return Part(read_artifact(lake, digest, extension), digest)


def _made(data: bytes) -> Part:
    return Part(data, sha256(data))


def _header(name: str, size: int) -> bytes:
    """Return a member's header as tarfile's USTAR_FORMAT has it, in a tenth of the time."""
    path, digits = name.encode("ascii"), b"%011o" % size
    checksum = b"%06o\0 " % (EMPTY_SUM + sum(path) + sum(digits))
    return b"".join((path.ljust(100, b"\0"), EMPTY[100:124], digits, EMPTY[135:148], checksum, EMPTY[156:]))


def _begin_flush(descriptor: int, offset: int, length: int) -> None:
    """Have a range written to the disk without waiting for it. (Only clean pages are dropped: here there are none.)"""
    if hasattr(os, "posix_fadvise"):  # macOS has none: there the fsync does all of it
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _put_index(lake: Lake, path: Path, entries: Sequence[Row], schema: pa.Schema) -> str:
    """Store a shard's index and return its digest. One that is there already is kept if it says the same."""
    table, buffer = pa.Table.from_pylist(list(entries), schema=schema), io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    if put(lake, path, buffer.getvalue()):
        return sha256(buffer.getvalue())
    with told(lake):
        there = path.read_bytes()
    try:
        same = pq.read_table(pa.BufferReader(there)).equals(table)  # if not its bytes: another pyarrow may have made it
    except (pa.ArrowException, OSError):
        same = False
    if not same:
        raise LakeError(f"lake {lake.root}: {path.relative_to(lake.root)}: {DAMAGED}")
    return sha256(there)


def _put_tar(lake: Lake, path: Path, temporary: Path) -> None:
    """Give a finished shard its name. One that is there already is kept if its bytes are those of its name."""
    if put_file(lake, path, temporary):
        return
    with told(lake), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != path.stem:
        raise LakeError(f"lake {lake.root}: {path.relative_to(lake.root)}: {DAMAGED}")
