"""The samples of a version, in the version's order: each part is held against its digest as it is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from schemas.errors import ExportError
from schemas.ids import sha256
from tasks.deletions import deleted_keys
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.pack import PARTS, Part, Sample
from tasks.shards import ShardError, read_index

NEXT_STEP = "restore it; `omnirefiner verify` names all that is wrong"


def live_samples(lake: Lake, entry: Row) -> Iterator[Sample]:
    """Yield the samples of a shard (as a manifest lists it) that are the version's.

    Raises ExportError where the shard or its index is missing or not as it was published, DeletionsError where its
    deletion vector is.
    """
    path = lake.shard(entry["sha256"])
    deleted = deleted_keys(lake, entry)
    index = [row for row in _read_index(lake, path, entry) if row["key"] not in deleted]
    if len(index) != entry["live"]:
        raise ExportError(
            f"{_name(lake, path)}: {len(index)} of its samples are the version's, the manifest says {entry['live']}; "
            f"{NEXT_STEP}"
        )
    try:
        with path.open("rb") as file:
            for row in index:
                parts = tuple(_read_part(lake, file, row, part) for part in PARTS)
                yield Sample(row["key"], row["width"], row["height"], parts)
    except OSError as error:
        raise ExportError(f"{_name(lake, path)}: {error.strerror or error}; {NEXT_STEP}") from None


def _read_index(lake: Lake, shard: Path, entry: Row) -> list[Row]:
    path = shard.with_suffix(".parquet")
    try:
        if sha256(path.read_bytes()) != entry["index_sha256"]:
            raise ShardError("its digest is not the one in the manifest")
        return read_index(path, entry["samples"])
    except ShardError as error:
        what = str(error)
    except OSError as error:
        what = error.strerror or str(error)
    raise ExportError(f"{_name(lake, path)}: {what}; {NEXT_STEP}")


def _read_part(lake: Lake, file: IO[bytes], row: Row, part: str) -> Part:
    file.seek(row[f"{part}.offset"])
    data = file.read(row[f"{part}.size"])
    digest = sha256(data)
    if digest != row[f"{part}.sha256"]:
        raise ExportError(
            f"{_name(lake, Path(file.name))}: {row['key']}.{part} in it is not as it was published; {NEXT_STEP}"
        )
    return Part(data, digest)


def _name(lake: Lake, path: Path) -> str:
    return f"lake {lake.root}: {path.relative_to(lake.root)}"
