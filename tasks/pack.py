"""Shards: plain tar files of samples, named by their digest, each with an index that says where every part lies."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.ids import canonical, sha256
from tasks.codecs import encode_jpeg, load_photo
from tasks.lake import Lake, put, put_file, told
from tasks.ledger import Row

PARTS = ("input.webp", "json", "mask.png", "reference.jpg", "target.webp")  # in every sample, in this order
BLOCK = tarfile.BLOCKSIZE

INDEX = pa.schema(
    [("key", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
    + [
        column
        for part in PARTS
        for column in ((f"{part}.offset", pa.int64()), (f"{part}.size", pa.int64()), (f"{part}.sha256", pa.string()))
    ]
)


@dataclass(frozen=True)
class Shard:
    """A packed shard as the manifest lists it."""

    sha256: str
    index_sha256: str
    samples: int
    bytes: int
    split_group: str  # of every sample in it
    jpeg_quality: int  # of the references


def pack_shard(lake: Lake, quadruplets: Sequence[Row], jpeg_quality: int) -> Shard:
    """Pack quadruplets (rows of the view, of one split group) into a shard: the same rows give the same bytes."""
    (split_group,) = {row["split_group"] for row in quadruplets}
    temporary = lake.temporary()
    reference = lru_cache(maxsize=64)(lambda digest: encode_jpeg(load_photo(lake, digest), jpeg_quality))
    hasher = hashlib.sha256()
    index: list[Row] = []
    try:
        with told(lake), temporary.open("xb") as file:

            def write(data: bytes) -> None:
                file.write(data)
                hasher.update(data)

            for row in quadruplets:
                entry: Row = {"key": row["quadruplet_id"], "width": row["width"], "height": row["height"]}
                parts = _parts(lake, row, reference(row["reference_sha256"]))
                for part, data in zip(PARTS, parts, strict=True):
                    write(_header(f"{entry['key']}.{part}", len(data)))
                    entry |= {f"{part}.offset": file.tell(), f"{part}.size": len(data), f"{part}.sha256": sha256(data)}
                    write(data)
                    write(bytes(-len(data) % BLOCK))
                index.append(entry)
            write(bytes(2 * BLOCK))  # two empty blocks end a tar file
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
        digest = hasher.hexdigest()
        index_path = lake.shard(digest).with_suffix(".parquet")
        put(lake, index_path, _index(index))
        put_file(lake, lake.shard(digest), temporary)
    finally:
        temporary.unlink(missing_ok=True)
    return Shard(digest, sha256(index_path.read_bytes()), len(index), size, split_group, jpeg_quality)


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


def _parts(lake: Lake, row: Row, reference: bytes) -> tuple[bytes, ...]:
    return (
        lake.artifact(row["input_sha256"], "webp").read_bytes(),
        sample_json(row),
        lake.artifact(row["mask_sha256"], "png").read_bytes(),
        reference,
        lake.artifact(row["target_sha256"], "webp").read_bytes(),
    )


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)  # no time, no owner: nothing that differs between two packings
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def _index(entries: Sequence[Row]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(entries), schema=INDEX), buffer, compression="zstd")
    return buffer.getvalue()
