"""Shards as they are read: samples in order, nothing but the parts that are known, each through its own decoder.

A shard may come from anywhere. Nothing of it is unpickled, written to disk or followed: a link, a device, a part of
another name or of an unlikely size is an error that names it, and a picture is measured before it is decoded.
"""

import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ProjectError
from tasks.codecs import decode, decode_mask
from tasks.ledger import Row
from tasks.pack import BLOCK, PARTS, index_of

KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
LARGEST = 2**25  # bytes of a part; the largest bucket has 15 MB of pixels
LONGEST_END = tarfile.RECORDSIZE  # bytes of zeros that other writers of tar files may end with
REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE)


class ShardError(ProjectError):
    """A shard or an index that is not as this project writes them."""


@dataclass(frozen=True)
class StoredPart:
    """One part of a sample: its bytes, and where in the shard they begin."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class StoredSample:
    """One sample: its parts by name, in order."""

    key: str
    parts: Mapping[str, StoredPart]


def read_samples(shard: Path, parts: Sequence[str] = PARTS) -> Iterator[StoredSample]:
    """Yield a shard's samples in order, undecoded. Raises ShardError where something else is in it, or it is cut."""
    with shard.open("rb") as file:
        while (member := _next_member(file)) is not None:
            key = member.name.partition(".")[0]
            if not KEY.fullmatch(key):
                raise ShardError(f"{member.name!r} in it is no part of a sample")
            read: dict[str, StoredPart] = {}
            for part in parts:
                found = member if not read else _next_member(file)
                if found is None or found.name != f"{key}.{part}":
                    there = "its end" if found is None else repr(found.name)
                    raise ShardError(f"{there} is where {key}.{part} belongs")
                read[part] = _read_part(file, found)
            yield StoredSample(key, read)


def decode_part(part: str, data: bytes) -> Any:
    """Decode a part by its name: pixels (H, W, 3) uint8, a mask (H, W) bool, or a JSON object.

    Raises ShardError where there is no decoder of that name, or the bytes are not what it decodes.
    """
    decoder = DECODERS.get(part)
    if decoder is None:
        raise ShardError(f"{part!r} is no part that is read; these are: {', '.join(DECODERS)}")
    try:
        return decoder(data)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{part} does not decode: {error}") from None


def read_index(path: Path, samples: int, parts: Sequence[str] = PARTS) -> list[Row]:
    """Return the rows of an index that must have so many. Raises ShardError where it is no such index."""
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(index_of(parts)):
                raise ShardError("its columns are not those of an index")
            if file.metadata.num_rows != samples:
                raise ShardError(f"it lists {file.metadata.num_rows} samples, the manifest {samples}")
            return [row for batch in file.iter_batches(batch_size=256) for row in batch.to_pylist()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ShardError(f"it cannot be read: {' '.join(str(error).split())[:200]}") from None


def _next_member(file: IO[bytes]) -> tarfile.TarInfo | None:
    """Return the next header, none at the tar's end; `file` stands at its bytes then.

    Headers are read one by one: tarfile would follow those that rename, enlarge or link what comes after them.
    """
    offset = file.tell()
    block = file.read(BLOCK)
    if block == bytes(BLOCK):
        rest = file.read(LONGEST_END + 1)
        if len(rest) > LONGEST_END or any(rest):
            raise ShardError("it goes on after its end")
        return None
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except tarfile.HeaderError as error:
        raise ShardError(f"it is cut or damaged at byte {offset}: {error}") from None
    if member.type not in REGULAR or member.linkname:
        raise ShardError(f"{member.name!r} in it is a link, a device or another thing that is no file")
    if not 0 <= member.size <= LARGEST:
        raise ShardError(f"{member.name!r} in it declares {member.size} bytes, more than any part has")
    return member


def _read_part(file: IO[bytes], member: tarfile.TarInfo) -> StoredPart:
    offset = file.tell()
    data = file.read(member.size)
    padding = -member.size % BLOCK
    if len(data) < member.size or len(file.read(padding)) < padding:
        raise ShardError(f"it ends in the middle of {member.name!r}")
    return StoredPart(offset, data)


def _decode_json(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "better.webp": partial(decode, formats=("WEBP",)),
    "input.webp": partial(decode, formats=("WEBP",)),
    "json": _decode_json,
    "mask.png": decode_mask,
    "reference.jpg": partial(decode, formats=("JPEG",)),
    "target.webp": partial(decode, formats=("WEBP",)),
    "worse.webp": partial(decode, formats=("WEBP",)),
}
