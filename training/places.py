"""Where the reference shows the masked region: looked up once a sample, by what matches between draft and reference.

Only the draft is asked, never the target: whoever refines has nothing else. What is found is kept in a folder, one file
a shard, and good for every version that holds the shard.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.errors import DataError
from schemas.records import Mask, Photo, Polygon
from tasks.engines.correspond import Features, affine_about, features, map_region, match
from tasks.engines.foreground import foreground, object_box
from tasks.engines.load import one_thread_each
from tasks.engines.once import once_a_photo
from training.dataset import Split, sample_at
from training.decode import Damaged, Sample, decode, decode_mask, read
from training.focus import Place
from training.stored import Store

VERSION = 3  # of the look-up: another one looks anew
TURN = 6  # numbers of a turn
CHUNK = 8  # samples that a process is asked for at once
UNKNOWN = Place(0.0, 0.0, 1.0, 1.0, found=False)
COLUMNS = pa.schema([
    ("key", pa.string()), ("left", pa.float32()), ("top", pa.float32()), ("right", pa.float32()),
    ("bottom", pa.float32()), ("found", pa.bool_()), ("turn", pa.list_(pa.float32(), 6)),
])  # fmt: skip


def find_place(draft: Photo, reference: Photo, mask: Mask) -> Place:
    """Return the box of the reference that shows what the mask (H, W) of the draft covers, and how it is turned there.

    Where matches do not say, or the mask is empty, it is the box of the reference's foreground, and not `found`.
    """
    likely, there = _seen_once(reference)
    region = _outline(mask)
    if region is not None:
        here = features(draft.pixels, foreground(draft.pixels))
        matches = match(here, there)
        shown = map_region(matches, region)
        if shown is not None:
            corners = np.array(shown)
            left, top, right, bottom = map(float, (*corners.min(axis=0), *corners.max(axis=0)))
            turn = affine_about(matches, region)
            return Place(left, top, right, bottom, True, None if turn is None else tuple(turn.ravel().tolist()))
    return Place(*object_box(likely), found=False)


def _seen(photo: Photo) -> tuple[NDArray[np.float32], Features]:
    likely = foreground(photo.pixels)
    return likely, features(photo.pixels, likely)


_seen_once = once_a_photo(_seen, capacity=64)  # several samples of a pair, or of a product, have one reference


def look_up(split: Split, folder: Path, workers: int, progress: Callable[[int], None] = lambda count: None) -> Split:
    """Return the split with its places, looked up by so many processes where the folder does not hold them yet.

    `progress` is told how many samples were done since it was last told. Takes about half a second a sample and core.
    What was looked up is kept also when it is interrupted. Raises DataError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return replace(split, places=_looked_up(split, folder, workers, progress))
    except BrokenExecutor:
        raise DataError(
            f"version '{split.version}': a process that looks up places has ended by itself, perhaps for want of "
            "memory; use fewer, and run the same command again, nothing is lost"
        ) from None
    except OSError as error:
        raise DataError(
            f"folder {folder}: {error.strerror or error}; mend that and run the same command again, nothing is lost"
        ) from None


def _looked_up(split: Split, folder: Path, workers: int, progress: Callable[[int], None]) -> NDArray[np.float32]:
    keys, shard = split.index["key"].to_pylist(), split.index["shard"].to_numpy()
    places = np.zeros((split.samples, 5 + TURN), np.float32)
    pool = ProcessPoolExecutor(max(1, workers), get_context("spawn"), initializer=one_thread_each)
    try:
        for number, name in enumerate(split.shards):
            rows = np.flatnonzero(shard == number)
            path = folder / f"{Path(name).stem}.{VERSION}.parquet"
            kept = _kept(path)
            missing = [sample_at(split, int(row)) for row in rows if keys[row] not in kept]
            progress(len(rows) - len(missing))
            if missing:
                missing.sort(key=lambda sample: sample.reference.sha256)  # a process sees each reference once
                chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
                for chunk, found in zip(chunks, pool.map(partial(_places, Store(split.root)), chunks), strict=True):
                    kept |= found
                    progress(len(chunk))
                _keep(path, kept)
            places[rows] = [_row(kept.get(keys[row], UNKNOWN)) for row in rows]
    finally:
        pool.shutdown(cancel_futures=True)
    return places


def _row(place: Place) -> list[float]:
    """Return a place as numbers; a turn that is not known as NaN."""
    return [place.left, place.top, place.right, place.bottom, place.found, *(place.turn or [np.nan] * TURN)]


def _places(store: Store, samples: Sequence[Sample]) -> dict[str, Place]:
    """Look up the places of some samples, by key, but for those that are damaged: who trains replaces them."""
    places: dict[str, Place] = {}
    for sample in samples:
        with suppress(Damaged, ValueError):
            parts = read(store, sample, digests=True)
            draft = Photo(sample.input.sha256, decode(parts["input"]))
            reference = Photo(sample.reference.sha256, decode(parts["reference"]))
            places[sample.key] = find_place(draft, reference, decode_mask(parts["mask"]))
    return places


def _outline(mask: Mask) -> Polygon | None:
    """Return the hull of a mask in at most 64 relative points; None where it is empty or a mere line."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    hull = cv2.convexHull(np.column_stack([columns, rows]).astype(np.int32))
    corners, tolerance = hull, 0.5
    while len(corners) > 64:
        corners = cv2.approxPolyDP(hull, tolerance, True)
        tolerance *= 1.5
    if len(corners) < 3:
        return None
    points = (corners[:, 0] + 0.5) / (width, height)
    return tuple((float(x), float(y)) for x, y in points)


def _kept(path: Path) -> dict[str, Place]:
    """Return what a file holds, by key; nothing where there is none, or it is damaged: then it is looked up again."""
    try:
        table = pq.read_table(path)
        if table.schema.equals(COLUMNS):
            return {
                row.pop("key"): Place(**{**row, "turn": row["turn"] and tuple(row["turn"])})
                for row in table.to_pylist()
            }
    except (OSError, pa.ArrowException):
        pass
    return {}


def _keep(path: Path, places: dict[str, Place]) -> None:
    rows = [{"key": key, **asdict(place)} for key, place in places.items()]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), unfinished, compression="zstd")
    unfinished.replace(path)
