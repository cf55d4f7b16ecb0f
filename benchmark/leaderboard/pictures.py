"""The cases that a leaderboard shows: of each model its worst, and some drawn by their keys."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmark.cases import Frozen
from benchmark.metrics import METRICS
from benchmark.run import read_output
from schemas.benchmark import stratum
from schemas.ids import digest
from schemas.records import Pixels
from tasks.engines.pretrained import square_about

if TYPE_CHECKING:
    from benchmark.leaderboard import Entry

SIDE = 288  # px of a picture's longer side
QUALITY = 82
DRAWN = 0.5  # of as many as the worst of one model: cases drawn by chance, so that not only failures are seen


def shown_cases(
    frozen: Frozen, entries: Sequence[Entry], by: str, each: int
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Return the cases with their figures, and the pictures of each: reference, input, truth, and each model's output.

    The worst `each` of every model by a metric, which is where it should be looked at first. Pictures are WebP in
    base64; all but the reference are of the place about the mask.
    """
    keys = _chosen(frozen, entries, by, each)
    cases, pictures = [], []
    for key in keys:
        case, facts = frozen.case(key), frozen.facts[key]
        box = square_about(case.problem.mask)
        mended = [
            read_output(entry.folder, entry.answers[key]["sha256"]) if key in entry.figures else None
            for entry in entries
        ]
        close = [None if one is None else one[box] for one in (case.problem.input, case.target, *mended)]
        pictures.append([_webp(case.problem.reference), *("" if one is None else _webp(one) for one in close)])
        cases.append({
            "key": key,
            "stratum": stratum(facts["category"], facts["task"]),
            "instruction": case.problem.instruction,
            "group": str(facts["group"]),
            "figures": [
                {metric: _rounded(entry.figures.get(key, {}).get(metric)) for metric in METRICS} for entry in entries
            ],
            "refused": [entry.answers.get(key, {}).get("refused") for entry in entries],
        })  # fmt: skip
    return cases, pictures


def _chosen(frozen: Frozen, entries: Sequence[Entry], by: str, each: int) -> list[str]:
    sign = 1 if METRICS[by].better == "high" else -1
    measured = {key for entry in entries for key in entry.figures}
    chosen: set[str] = set(sorted(measured, key=lambda key: digest("shown", key))[: round(DRAWN * each)])
    for entry in entries:
        values = entry.values(by, frozen.keys)
        order = np.argsort(np.where(np.isnan(values), np.inf, sign * values), kind="stable")
        chosen |= {frozen.keys[number] for number in order[:each] if not np.isnan(values[number])}
    return sorted(chosen)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _webp(pixels: Pixels) -> str:
    image, buffer = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return base64.b64encode(buffer.getvalue()).decode()
