"""Which photos there are: a folder of products, a flat folder, or a manifest (CSV, Parquet, JSONL)."""

import csv
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import PhotosError
from schemas.ids import digest

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic"}
KNOWN_COLUMNS = ("path", "product", "licence", "license")


@dataclass(frozen=True)
class Listed:
    """One listed file with its facts. `size` and `mtime_ns` tell a changed file without reading it."""

    listing: str  # the folder or manifest that lists it
    root: str
    path: str  # relative to root, with forward slashes
    product: str | None
    licence: str | None
    extra: str  # JSON: the manifest's other columns
    size: int  # bytes; -1: it cannot be looked at, and intake says why
    mtime_ns: int

    @property
    def item_id(self) -> str:
        """Return the id of this file with these facts."""
        return digest("source", self.root, self.path, self.product, self.licence, self.extra, self.size, self.mtime_ns)


def list_photos(photos: Path, limit: int | None = None) -> list[Listed]:
    """Return the photos of a folder or a manifest, in order of their paths, the first `limit` of them.

    In a folder, the folder that a photo lies in is its product; photos that lie at the top have none.
    Raises PhotosError where there is nothing to list.
    """
    if not photos.exists():
        raise PhotosError(f"photos {photos}: not found; give a folder of photos or a manifest")
    found = _of_folder(photos) if photos.is_dir() else _of_manifest(photos)
    distinct = {one.item_id: one for one in found}  # a manifest may list a file twice
    listed = sorted(distinct.values(), key=lambda one: (one.path, one.item_id))
    if not listed:
        raise PhotosError(
            f"photos {photos}: no photos there; photos end in {', '.join(sorted(PHOTO_SUFFIXES))}, "
            "one folder a product, or all in one folder"
        )
    return listed[:limit]


def _of_folder(folder: Path) -> Iterator[Listed]:
    root = folder.resolve()
    for where, folders, files in os.walk(root):
        if "lake.json" in files:  # a lake among the photos is not itself photos
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where) / name
            if path.suffix.lower() in PHOTO_SUFFIXES and not name.startswith("."):
                inside = path.relative_to(root)
                product = None if inside.parent == Path() else _text(inside.parent.as_posix())
                yield _look(str(root), root, inside.as_posix(), product, None, {})


def _of_manifest(manifest: Path) -> Iterator[Listed]:
    reader = MANIFESTS.get(manifest.suffix.lower())
    if reader is None:
        raise PhotosError(f"manifest {manifest}: its name ends in none of {', '.join(MANIFESTS)}; rename or convert it")
    real = manifest.resolve()
    try:
        for number, row in enumerate(reader(real), start=1):
            yield _of_row(real, number, row)
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        first = str(error).strip().splitlines()[0]
        raise PhotosError(f"manifest {manifest}: cannot be read ({first}); check its format") from None


def _csv_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has not as many cells as the header")
            yield {str(name).strip(): value.strip() or None for name, value in row.items()}


def _jsonl_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    with manifest.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no JSON object")
                yield row


def _parquet_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(manifest).iter_batches():
        yield from batch.to_pylist()


MANIFESTS = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows, ".parquet": _parquet_rows}


def _of_row(manifest: Path, number: int, row: dict[str, Any]) -> Listed:
    if "path" not in row:
        names = ", ".join(map(str, row))
        raise PhotosError(f"manifest {manifest}: no column 'path' (there are: {names}); name it so")
    path = row["path"]
    if not isinstance(path, str) or not path:
        raise PhotosError(f"manifest {manifest}: row {number} has the path {path!r}; every row needs a path as text")
    root = manifest.parent
    inside = os.path.normpath(os.path.relpath(path, root) if Path(path).is_absolute() else path)
    facts = {name: value for name, value in row.items() if not _is_nothing(value)}
    licence = facts.get("licence", facts.get("license"))
    extra = {name: value for name, value in facts.items() if name not in KNOWN_COLUMNS}
    product = facts.get("product")
    return _look(
        str(manifest), root, Path(inside).as_posix(), None if product is None else str(product),
        None if licence is None else str(licence), extra,
    )  # fmt: skip


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _look(
    listing: str, root: Path, path: str, product: str | None, licence: str | None, extra: dict[str, Any]
) -> Listed:
    try:
        info = (root / path).stat()
        size, mtime_ns = (info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else (-1, 0)
    except (OSError, ValueError):
        size, mtime_ns = -1, 0
    text = json.dumps(extra, sort_keys=True, default=str)
    return Listed(
        _text(listing),
        _text(str(root)),
        _text(path),
        product,
        licence,
        text,
        size,
        mtime_ns,
    )


def _text(name: str) -> str:
    """Return a file's name as valid text: bytes that are no UTF-8 come as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def changes(listed: Sequence[Listed], before: Sequence[Mapping[str, Any]], *, complete: bool) -> list[dict[str, Any]]:
    """Return the rows by which a listing differs from what it said before (rows of listing, path, product, item_id).

    A `complete` listing also takes back what it no longer has.
    """
    listing = listed[0].listing
    said = {(row["path"], row["product"]): row["item_id"] for row in before if row["listing"] == listing}
    now = {(one.path, one.product): one.item_id for one in listed}
    gone = dict.fromkeys(said.keys() - now.keys()) if complete else {}
    changed = {key: item_id for key, item_id in {**now, **gone}.items() if said.get(key, "") != item_id}
    ordered = sorted(changed.items(), key=lambda entry: (entry[0][0], entry[0][1] or ""))
    return [
        {"listing": listing, "path": path, "product": product, "item_id": item_id}
        for (path, product), item_id in ordered
    ]
