"""Which photos there are: a folder of products, a flat folder, or a manifest (CSV, Parquet, JSONL)."""

import csv
import errno
import json
import math
import os
import re
import stat
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import PhotosError
from schemas.ids import digest

TAKEN = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif")
NOT_READ = (".heic", ".heif", ".svg", ".jxl", ".jp2", ".psd")  # listed all the same: intake refuses them with a word
RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")  # cameras' own; the same
PHOTO_SUFFIXES = {*TAKEN, *NOT_READ, *RAW}
KNOWN_COLUMNS = ("path", "product", "licence", "license")
LABEL = "label"  # the column of a product that a blind build is not told
LONGEST_MARKER = 2**16  # bytes of a lake.json; a lake's own has a hundred
OF_THE_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Listed:
    """One listed file with its facts. `size` and `mtime_ns` tell a changed file without reading it."""

    item_id: str  # of this file with these facts
    listing: str  # the folder or manifest that lists it
    root: str
    path: str  # relative to root, with forward slashes
    product: str | None
    licence: str | None
    extra: str  # JSON: the manifest's other columns
    size: int  # bytes; -1: it cannot be looked at, and intake says why
    mtime_ns: int

    def row(self) -> dict[str, Any]:
        """Return the fields by name, as intake takes them."""
        return {name: getattr(self, name) for name in self.__slots__}


def list_photos(photos: Path, limit: int | None = None, *, blind: bool = False) -> list[Listed]:
    """Return the photos of a folder or a manifest, in order of their paths, the first `limit` of them.

    With `blind` no photo has a product: what is known of it is kept aside, as the column LABEL.

    In a folder, the folder that a photo lies in is its product; photos that lie at the top have none. What is named as
    a photo is listed, and every folder or link that leads nowhere; what begins with a dot is passed over.
    Raises PhotosError where there is nothing to list, or a manifest cannot be understood.
    """
    if not photos.exists():
        raise PhotosError(f"photos {photos}: not found; give a folder of photos or a manifest")
    found = _of_folder(photos) if photos.is_dir() else _of_manifest(photos)
    if blind:
        found = (_blinded(one) for one in found)
    distinct = {one.item_id: one for one in found}  # a manifest may say the same twice
    listed = sorted(distinct.values(), key=lambda one: (one.path, one.product or "", one.item_id))
    if not listed:
        raise PhotosError(
            f"photos {photos}: no photos there; photos end in {', '.join(TAKEN)}, one folder a product, or all in one "
            "folder, or a row each in a manifest"
        )
    for one, other in pairwise(listed):
        if (one.path, one.product) == (other.path, other.product):
            raise PhotosError(f"photos {photos}: {one.path!r} is listed twice with different facts; keep one of them")
    return listed[:limit]


def on_disk(root: str, path: str) -> Path:
    """Return where a listed file lies: its name may have bytes that are no UTF-8, which are listed as escapes."""
    written = Path(root, path)
    if "\\x" not in str(written) or os.path.lexists(written):
        return written
    return Path(os.fsdecode(ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), os.fsencode(written))))


def _of_folder(folder: Path) -> Iterator[Listed]:
    root = os.path.realpath(folder)
    linked: set[str] = set()  # folders that links led to; each is entered once, so that the walk ends
    waiting = [root]
    while waiting:
        where = waiting.pop()
        try:
            with os.scandir(where) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            _raise_trouble(where, error)
            yield _in_folder(root, where)  # a folder that cannot be looked into
            continue
        if _is_lake(where, {entry.name for entry in entries}):  # its pictures are made of photos, and are none
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry) and (not entry.is_symlink() or _enters(root, entry.path, linked)):
                waiting.append(entry.path)
            elif entry.is_symlink() and not os.path.isfile(entry.path):  # noqa: PTH113 - says no where it may not look
                yield _in_folder(root, entry.path)  # it leads nowhere, out, or in a circle
                continue
            if Path(entry.name).suffix.lower() in PHOTO_SUFFIXES:
                yield _in_folder(root, entry.path)


def _is_lake(folder: str, names: set[str]) -> bool:
    """Say whether a folder is a lake: many things may be called lake.json."""
    marker = Path(folder, "lake.json")
    if marker.name not in names or not os.path.isfile(marker):  # noqa: PTH113 - says no where it may not look
        return False
    if "ledger" in names:
        return True
    try:
        with marker.open("rb") as file:
            said = json.loads(file.read(LONGEST_MARKER))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and "schema" in said


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _enters(root: str, link: str, linked: set[str]) -> bool:
    """Say whether to go where a link leads: within the root, to no folder that holds the link, and not twice."""
    real, lies_in = Path(os.path.realpath(link)), Path(os.path.realpath(Path(link).parent))
    if str(real) in linked or not real.is_relative_to(root) or lies_in.is_relative_to(real):
        return False
    linked.add(str(real))
    return True


def _in_folder(root: str, path: str) -> Listed:
    inside = path.removeprefix(root).lstrip("/")
    product = inside.rpartition("/")[0] or None
    return _look(root, root, inside, _name(product), None, "{}")


def _of_manifest(manifest: Path) -> Iterator[Listed]:
    reader = MANIFESTS.get(manifest.suffix.lower())
    if reader is None:
        raise PhotosError(f"manifest {manifest}: its name ends in none of {', '.join(MANIFESTS)}; rename or convert it")
    if not manifest.is_file():
        raise PhotosError(f"manifest {manifest}: it is no regular file; give a folder of photos or a manifest")
    real = manifest.resolve()
    number = 0
    try:
        for row in reader(real):
            yield _of_row(str(real), str(real.parent), row)
            number += 1
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        first = " ".join(str(error).split())[:200] or type(error).__name__
        raise PhotosError(
            f"manifest {manifest}: cannot be read after row {number} ({first}); mend it, or save it anew in UTF-8"
        ) from None
    if number == 0:
        raise PhotosError(f"manifest {manifest}: it has no rows; give every photo a row with its path")


def _csv_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        names = [name.strip() for name in next(reader, [])]
        _refuse_twice(names)
        for cells in reader:
            if cells and len(cells) != len(names):
                raise ValueError(f"line {reader.line_num} has not as many cells as the header")
            if cells:
                yield {name: cell.strip() for name, cell in zip(names, cells, strict=True)}


def _jsonl_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    with manifest.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is no JSON object")
                yield row


def _parquet_rows(manifest: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(manifest) as file:
        _refuse_twice(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=4096):
            yield from batch.to_pylist()


def _refuse_twice(names: Sequence[str]) -> None:
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise ValueError(f"it has {times} columns {name!r}")


MANIFESTS = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows, ".parquet": _parquet_rows}


def _of_row(manifest: str, root: str, row: Mapping[str, Any]) -> Listed:
    """Return what a row of a manifest lists. Raises ValueError where it lists nothing."""
    if "path" not in row:
        raise ValueError(f"there is no column 'path' (there are: {', '.join(row)})")
    path = row["path"]
    if not isinstance(path, str) or not path:
        raise ValueError(f"the path {path!r} is no text; every row needs a path")
    facts = {name: value for name, value in row.items() if not _is_nothing(value)}
    licence = facts.get("licence", facts.get("license"))
    extra = {name: _plain(name, value) for name, value in facts.items() if name not in KNOWN_COLUMNS}
    return _look(
        manifest,
        root,
        os.path.normpath(os.path.relpath(path, root) if path.startswith("/") else path),
        _name(facts.get("product")),
        _name(licence),
        json.dumps(extra, sort_keys=True) if extra else "{}",
    )


def _is_nothing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and not math.isfinite(value))


def _plain(name: str, value: Any) -> Any:
    """Return a cell as what JSON knows: no NaN, and text for dates and decimals."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return None if _is_nothing(value) else value
        case dict():
            return {str(key): _plain(name, inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(name, inner) for inner in value]
        case bytes():
            raise ValueError(f"the column {name!r} has bytes, which are not kept; leave it out")
        case _:
            return str(value)


def _name(value: Any) -> str | None:
    """Return a product or licence as text in one spelling: names that look the same are the same."""
    match value:
        case None:
            return None
        case float() if value.is_integer():  # what a table of whole numbers becomes where one is missing
            return str(int(value))
        case bool() | list() | dict() | bytes():
            raise ValueError(f"{value!r} is no name of a product or licence; give a text")
        case _:
            return sys.intern(unicodedata.normalize("NFC", _text(str(value))))


def _look(listing: str, root: str, path: str, product: str | None, licence: str | None, extra: str) -> Listed:
    size, mtime_ns = _size_and_time(f"{root}/{path}")
    return _listed(_text(listing), _text(root), _text(path), product, licence, sys.intern(extra), size, mtime_ns)


def _listed(listing: str, *facts: Any) -> Listed:
    return Listed(digest("source", *facts), listing, *facts)


def _blinded(one: Listed) -> Listed:
    extra = (
        one.extra if one.product is None else json.dumps({**json.loads(one.extra), LABEL: one.product}, sort_keys=True)
    )
    return _listed(one.listing, one.root, one.path, None, one.licence, extra, one.size, one.mtime_ns)


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        info = os.stat(path)  # noqa: PTH116 - a million times
        if stat.S_ISREG(info.st_mode) and os.access(path, os.R_OK):
            return info.st_size, info.st_mtime_ns
    except ValueError:
        pass
    except OSError as error:
        _raise_trouble(path, error)
    return -1, 0


def _raise_trouble(path: str, error: OSError) -> None:
    """Raise PhotosError unless an error says something of the file: a disk's trouble must not unlist its photos."""
    if error.errno not in OF_THE_FILE:
        raise PhotosError(f"photos {path}: {error.strerror}; mend that and run it again") from None


def _text(name: str) -> str:
    """Return a name as valid text: bytes that are no UTF-8, and halves of characters, come as escapes."""
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()


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
