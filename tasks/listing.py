"""Which photos there are: a folder of products, a flat folder, or a manifest (CSV, Parquet, JSONL)."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from schemas.errors import PhotosError
from schemas.ids import digest

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
MANIFESTS = {".csv": "read_csv", ".parquet": "read_parquet", ".jsonl": "read_json", ".ndjson": "read_json"}
KNOWN_COLUMNS = ("path", "product", "licence")


@dataclass(frozen=True)
class Listed:
    """One listed file with its facts. `size` and `mtime_ns` tell a changed file without reading it."""

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
    listed = sorted(_of_folder(photos) if photos.is_dir() else _of_manifest(photos), key=lambda one: one.path)
    if not listed:
        raise PhotosError(
            f"photos {photos}: no photos there; photos end in {', '.join(sorted(PHOTO_SUFFIXES))}, "
            "one folder a product, or all in one folder"
        )
    return listed[:limit]


def _of_folder(folder: Path) -> Iterator[Listed]:
    root = folder.resolve()
    for where, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(where) / name
            if path.suffix.lower() in PHOTO_SUFFIXES and not name.startswith("."):
                inside = path.relative_to(root)
                product = None if inside.parent == Path() else _text(inside.parent.as_posix())
                yield _look(root, inside.as_posix(), product, None, {})


def _of_manifest(manifest: Path) -> Iterator[Listed]:
    reader = MANIFESTS.get(manifest.suffix.lower())
    if reader is None:
        raise PhotosError(f"manifest {manifest}: its name ends in none of {', '.join(MANIFESTS)}; rename or convert it")
    options = ", all_varchar=true" if reader == "read_csv" else ""
    options += ", format='newline_delimited'" if reader == "read_json" else ""
    try:
        with duckdb.connect(":memory:") as connection:
            result = connection.execute(f"SELECT * FROM {reader}(?{options})", [str(manifest)])
            names = [column[0] for column in result.description]
            if "path" not in names:
                raise PhotosError(f"manifest {manifest}: no column 'path' (there are: {', '.join(names)}); name it so")
            root = manifest.resolve().parent
            while chunk := result.fetchmany(10_000):
                for values in chunk:
                    yield _of_row(root, manifest, dict(zip(names, values, strict=True)))
    except duckdb.Error as error:
        first = str(error).strip().splitlines()[0]
        raise PhotosError(f"manifest {manifest}: cannot be read ({first}); check its format") from None


def _of_row(root: Path, manifest: Path, row: dict[str, Any]) -> Listed:
    path = row["path"]
    if not isinstance(path, str) or not path:
        raise PhotosError(f"manifest {manifest}: a row has the path {path!r}; every row needs a path as text")
    extra = {name: value for name, value in row.items() if name not in KNOWN_COLUMNS and value is not None}
    product, licence = (None if row.get(name) in (None, "") else str(row[name]) for name in ("product", "licence"))
    return _look(root, path, product, licence, extra)


def _look(root: Path, path: str, product: str | None, licence: str | None, extra: dict[str, Any]) -> Listed:
    try:
        info = (root / path).stat()
        size, mtime_ns = (info.st_size, info.st_mtime_ns) if stat.S_ISREG(info.st_mode) else (-1, 0)
    except (OSError, ValueError):
        size, mtime_ns = -1, 0
    text = json.dumps(extra, sort_keys=True, default=str)
    return Listed(_text(str(root)), path if path.isprintable() else _text(path), product, licence, text, size, mtime_ns)


def _text(name: str) -> str:
    """Return a file's name as valid text: bytes that are no UTF-8 come as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
