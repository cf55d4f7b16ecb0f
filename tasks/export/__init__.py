"""Export: a version laid out in a folder that stands alone, for everybody else's loaders.

The shards hold the version's samples and no others, in its order, under plain names. Beside them lies what their
readers want: a card for the Hugging Face loader, Croissant, Energon's index, a table to choose samples by, a manifest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

from schemas.errors import ExportError
from schemas.ids import digest
from tasks.export import energon, table
from tasks.export.card import card
from tasks.export.croissant import croissant
from tasks.export.layout import SPLITS, Exported, ExportedShard, shard_names
from tasks.export.licences import of_photos
from tasks.export.lineage import lineage
from tasks.export.live import live_samples
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.manifests import Manifest
from tasks.pack import PARTS, Sample, lay_samples

SCHEMA = 1
SUMS = "SHA256SUMS"
JSON = PARTS.index("json")


def export(
    lake: Lake, manifest: Manifest, folder: Path, shard_samples: int, advance: Callable[[int], None] = lambda _: None
) -> Row:
    """Lay a version out in a new folder and return the folder's manifest. `advance` is told of samples laid.

    The same version gives the same shards. Raises ExportError where the folder is taken, the disk gives trouble, or a
    shard is not as it was published; the folder is then not there, and nothing else is left either.
    """
    with _new_folder(folder) as unfinished:
        exported = _lay(lake, manifest, unfinished, shard_samples, advance)
        described = {table.NAME: _described(unfinished / table.NAME)}
        _write(unfinished / "README.md", card(exported))
        _write(unfinished / "croissant.json", _json(croissant(exported, described[table.NAME])))
        told = _manifest(exported, shard_samples, described)
        _write(unfinished / "manifest.json", _json(told))
        _write(unfinished / SUMS, _sums(unfinished, exported))
        _sync(unfinished)
    return told


def _lay(lake: Lake, manifest: Manifest, folder: Path, size: int, advance: Callable[[int], None]) -> Exported:
    """Write the shards, and with each what is known of its samples: the table's rows and Energon's index."""
    exported = Exported(manifest, [], Counter(), Counter())
    groups = dict.fromkeys(entry["split_group"] for entry in manifest["shards"])
    with table.table(lake, manifest, folder / table.NAME) as keep, energon.index(folder) as add:
        for group in groups:
            entries = [entry for entry in manifest["shards"] if entry["split_group"] == group]
            samples = chain.from_iterable(live_samples(lake, entry) for entry in entries)
            split = SPLITS[group]
            for name in shard_names(split, sum(entry["live"] for entry in entries), size):
                said: list[Row] = []
                with (folder / name).open("xb") as file:
                    laid = lay_samples(file, _told(islice(samples, size), said, advance))
                shard = ExportedShard(name, split, len(laid.index), laid.bytes, laid.sha256)
                keep(shard, laid, said)
                add(len(exported.shards), folder / name, laid)
                exported.shards.append(shard)
                exported.counts.update((about["task"], about["category"]) for about in said)
                exported.licences.update(of_photos(about) for about in said)
    energon.describe(folder, exported.shards, digest(*(shard.sha256 for shard in exported.shards)))
    return exported


def _told(samples: Iterator[Sample], said: list[Row], advance: Callable[[int], None]) -> Iterator[Sample]:
    """Pass samples on; note down what their json says."""
    for sample in samples:
        said.append(table.said_by(sample.parts[JSON].data))
        advance(1)
        yield sample


def _manifest(exported: Exported, shard_samples: int, files: Row) -> Row:
    """Return what the folder holds, for those who move it or train on it."""
    source = exported.manifest
    return {
        "schema": SCHEMA,
        "version": {key: source[key] for key in ("name", "kind", "sequence", "content", "seal", "published_at")},
        "samples": exported.samples,
        "bytes": sum(shard.bytes for shard in exported.shards),
        "shard_samples": shard_samples,
        "parts": list(PARTS),
        "splits": {
            split: {"shards": len(shards), "samples": sum(shard.samples for shard in shards),
                    "bytes": sum(shard.bytes for shard in shards)}
            for split, shards in exported.splits.items()
        },
        "counts": {
            "task": _count(exported, 0),
            "category": _count(exported, 1),
            "licences": [{"of_photos": list(names), "samples": n} for names, n in sorted(exported.licences.items())],
        },
        "shards": [vars(shard) for shard in exported.shards],
        "files": files,
        "lineage": lineage(source),
    }  # fmt: skip


def _count(exported: Exported, which: int) -> Row:
    counts: Counter[str] = Counter()
    for names, samples in exported.counts.items():
        counts[names[which]] += samples
    return dict(sorted(counts.items()))


def _sums(folder: Path, exported: Exported) -> str:
    """Return the digests of all files, as `sha256sum` writes them."""
    known = {shard.name: shard.sha256 for shard in exported.shards}
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return "".join(f"{known.get(name) or _described(folder / name)['sha256']}  {name}\n" for name in names)


def _described(path: Path) -> Row:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _json(value: Row) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Let the block fill a folder beside the place, which it takes when it is whole.

    Whatever goes wrong, nothing is left; what a dead export left is cleared by the next.
    Raises ExportError where the place is taken, also by another export.
    """
    real = folder.resolve()
    unfinished = real.with_name(f".{real.name}.unfinished")
    if real.exists() and not (real.is_dir() and not any(real.iterdir())):
        raise ExportError(f"export {folder}: there is something already; name a new or an empty folder")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_RDONLY)
        try:
            _hold(descriptor, folder)
            for left in unfinished.iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            try:
                yield unfinished
                unfinished.rename(real)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            with suppress(OSError):
                _sync(real.parent)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ExportError(f"export {folder}: {error.strerror or error}; mend that and run it again") from error
    except sqlite3.OperationalError as error:
        raise ExportError(f"export {folder}: {error}; mend that and run it again") from error


def _hold(descriptor: int, folder: Path) -> None:
    """Hold the unfinished folder until it is closed, or this process dies."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ExportError(f"export {folder}: another export is writing there; let it end") from None


def _sync(folder: Path) -> None:
    """Bring a folder's entries, and the files in it, to the disk."""
    for path in (*folder.iterdir(), folder):
        if path.is_file() or path == folder:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
