"""Deletion vectors: which samples of a shard are not a version's, in files named by their digest.

A version shares its parent's shards also where it drops some of their samples: the vector names those. What must be
gone from the disk is never left to a vector, since only our own readers honour it.
"""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import LakeError
from schemas.ids import sha256
from tasks.lake import Lake, put
from tasks.ledger import Row

VECTOR = pa.schema([("key", pa.string())])
LARGEST = 2**25  # bytes of a vector; one of the largest shard has 3 MB


class DeletionsError(LakeError):
    """A deletion vector that is missing or damaged."""


def write_deletions(lake: Lake, keys: Iterable[str]) -> str | None:
    """Store the keys of a shard's samples that are not a version's; return the vector's digest, None for no keys."""
    gone = sorted(set(keys))
    if not gone:
        return None
    buffer = io.BytesIO()
    pq.write_table(pa.table({"key": gone}, schema=VECTOR), buffer, compression="zstd")
    digest = sha256(buffer.getvalue())
    put(lake, lake.deletions(digest), buffer.getvalue())
    return digest


def deleted_keys(lake: Lake, entry: Row) -> frozenset[str]:
    """Return the keys that a manifest's entry of a shard leaves out of the version.

    Raises DeletionsError where the vector is missing, or is not the one that was published: what is left out must not
    come back because of it.
    """
    digest = entry["deleted_sha256"]
    if digest is None:
        return frozenset()
    path = lake.deletions(digest)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST)
        if sha256(data) != digest:
            raise ValueError("its digest is not the one in its name")
        with pq.ParquetFile(pa.BufferReader(data)) as table:
            if not table.schema_arrow.equals(VECTOR):
                raise ValueError("its columns are not those of a deletion vector")
            if table.metadata.num_rows != entry["samples"] - entry["live"]:
                raise ValueError(
                    f"it lists {table.metadata.num_rows} samples, the manifest {entry['samples'] - entry['live']}"
                )
            return frozenset(str(key) for key in table.read()["key"].to_pylist())
    except FileNotFoundError:
        what = "it is missing"
    except (OSError, ValueError, pa.ArrowException) as error:
        what = " ".join(str(error).split())[:200]
    raise DeletionsError(f"lake {lake.root}: {path.relative_to(lake.root)}: {what}; restore it") from None
