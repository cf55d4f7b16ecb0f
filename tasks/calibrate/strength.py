"""Whether a stronger edit is a larger damage: the same edits once more, at one strength after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
from numpy.typing import NDArray

from schemas.records import EditInstruction, Operation, Photo, Pixels
from schemas.settings import Settings
from tasks.catalog import rows
from tasks.codecs import load_photo
from tasks.edit import polygon_mask
from tasks.engines.editor import EditRequest
from tasks.engines.embed import object_vector
from tasks.engines.likeness import psnr
from tasks.engines.load import load_editor
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.requests import Requests

STRENGTHS = (0.25, 0.5, 0.75, 1.0)
MARGIN = 0.5  # of the region's box, about it: what likeness is looked at with


@dataclass(frozen=True)
class Graded:
    """One edit at each of STRENGTHS: dB within the region, and the embeddings' cosine before and after."""

    operation: Operation
    psnr: tuple[float, ...]
    likeness: tuple[float, ...]


def drawn(connection: duckdb.DuckDBPyConnection, each: int, images: Sequence[str]) -> list[Row]:
    """Return edits of accepted quadruplets whose targets are among `images`, up to `each` of every operation."""
    return rows(
        connection,
        """SELECT q.edit_id, q.target_id, q.target_sha256, q.instruction FROM quadruplets q
           WHERE accepted AND list_contains($images, q.target_id)
           QUALIFY row_number() OVER (PARTITION BY operation ORDER BY quadruplet_id) <= $each
           ORDER BY operation, quadruplet_id""",
        {"images": list(images), "each": each},
    )


def graded(lake: Lake, settings: Settings, edits: Sequence[Row], advance: Callable[[int], None]) -> list[Graded]:
    """Execute edits at each of STRENGTHS, all else as it was; one that is refused at any of them is left out."""
    editor = load_editor(settings, Requests(lake))
    done = []
    for row in edits:
        target = Photo(row["target_id"], load_photo(lake, row["target_sha256"]))
        instruction = EditInstruction.model_validate_json(row["instruction"])
        first = EditRequest(row["edit_id"], target, instruction, STRENGTHS[0], settings.seed)
        answers = editor.edit([replace(first, strength=strength) for strength in STRENGTHS])
        edited = [answer for answer in answers if isinstance(answer, np.ndarray)]
        if len(edited) == len(STRENGTHS):
            height, width = target.pixels.shape[:2]
            inside = polygon_mask(instruction.region, width, height)
            place = _about(instruction, width, height)
            was, *are = (_embedded(_cut(pixels, place)) for pixels in (target.pixels, *edited))
            decibels = tuple(psnr(one, target.pixels, inside) for one in edited)
            done.append(Graded(instruction.operation, decibels, tuple(float(was @ one) for one in are)))
        advance(1)
    return done


def strength_table(edits: Sequence[Graded]) -> list[Row]:
    """Return by operation the medians at each strength, and the share of steps up in strength that lower the figure."""
    table: list[Row] = []
    for operation in (*Operation, None):
        these = [one for one in edits if operation in (None, one.operation)]
        if not these:
            continue
        row: Row = {"operation": operation.value if operation else "all", "n": len(these)}
        for name in ("psnr", "likeness"):
            figures = np.array([getattr(one, name) for one in these])  # (N, strengths)
            digits = 1 if name == "psnr" else 3
            for strength, middle in zip(STRENGTHS, np.median(figures, axis=0), strict=True):
                row[f"{'dB' if name == 'psnr' else name} at {strength:g}"] = round(float(middle), digits)
            row[f"{'dB' if name == 'psnr' else name} falls"] = f"{float((np.diff(figures, axis=1) < 0).mean()):.0%}"
        table.append(row)
    return table


def _about(instruction: EditInstruction, width: int, height: int) -> tuple[slice, slice]:
    """Return the rows and columns of the region's box with a margin."""
    corners = np.array(instruction.region) * (width, height)
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = MARGIN * (high - low).max()
    (left, top), (right, bottom) = np.maximum(low - margin, 0).astype(int), np.ceil(high + margin).astype(int)
    return slice(top, bottom), slice(left, right)


def _embedded(pixels: Pixels) -> NDArray[np.float32]:
    """Return the embedding (1280,) of a place, all of which counts."""
    return object_vector(pixels, np.ones(pixels.shape[:2], dtype=np.float32))


def _cut(pixels: Pixels, place: tuple[slice, slice]) -> Pixels:
    return np.ascontiguousarray(pixels[place])
