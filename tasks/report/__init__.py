"""A report: one HTML file that opens offline, with the funnel, distributions, timings and samples in pictures."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tasks.distributions import Score
from tasks.lake import Lake
from tasks.ledger import Row
from tasks.report.figures import Figures
from tasks.report.pictures import Pictures, distinct_photos, draw

HERE = Path(__file__).parent
LOOK = HERE / "look.css"  # shared with the pages of `omnirefiner review` and of the benchmark
ELEMENTS = HERE / "elements.js"  # shared with the benchmark's


def pictures_in(figures: Figures) -> int:
    """Return how many pictures a report will make."""
    return len(distinct_photos(figures.samples, figures.examples)) + len(figures.samples)


def write_report(lake: Lake, figures: Figures, out: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Write a report as one HTML file; the same lake gives the same bytes. `advance` is told of each picture done.

    Whatever the catalogue says goes in as JSON and is only ever set as text; the page's policy lets nothing run but its
    own script, and nothing load at all.
    """
    pictures = draw(lake, figures.samples, figures.examples, advance)
    numbers = {digest: number for number, digest in enumerate(pictures.photos)}
    facts = figures.facts | {
        "photos": [[photo["width"], photo["height"]] for photo in pictures.photos.values()],
        "samples": [_sample(row, pictures, numbers, figures.scores) for row in figures.samples],
        "examples": [_example(row, pictures, numbers) for row in figures.examples],
    }
    data = {
        "photos": [photo["data"] for photo in pictures.photos.values()],
        "edits": [pictures.edits[row["quadruplet_id"]]["data"] for row in figures.samples],
    }
    style = LOOK.read_text() + (HERE / "page.css").read_text()
    script = ELEMENTS.read_text() + (HERE / "page.js").read_text()
    page = Template((HERE / "page.html").read_text()).substitute(
        title=html.escape(_title(figures)), policy=policy_of(style, script), style=style, script=script,
        facts=inert_json(facts), pictures=inert_json(data),
    )  # fmt: skip
    _put(out, page)


def policy_of(style: str, script: str) -> str:
    """Return the policy of a page that runs its own script alone, and loads nothing."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _put(out: Path, page: str) -> None:
    """Write a page beside its place and then rename it: an old one stays whole until the new one is."""
    if out.exists() and not out.is_file():  # a pipe or a terminal, whose place cannot be taken
        out.write_text(page, encoding="utf-8", newline="\n")
        return
    real = out.resolve()
    unfinished = real.with_name(f"{real.name}.unfinished")
    try:
        unfinished.write_text(page, encoding="utf-8", newline="\n")
        unfinished.replace(real)
    finally:
        unfinished.unlink(missing_ok=True)


def inert_json(value: Any) -> str:
    """Return JSON that ends no script element and opens no comment, whatever is in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)  # U+2028 and such are escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _title(figures: Figures) -> str:
    names = [version["name"] for version in figures.facts["versions"]]
    about = f"version {' against '.join(names)}" if names else f"lake {figures.facts['lake']}"
    return f"{about} · OmniRefiner report"


def _sample(row: Row, pictures: Pictures, numbers: dict[str, int], scores: Sequence[Score]) -> dict[str, Any]:
    edit = pictures.edits[row["quadruplet_id"]]
    told = ("task", "category", "operation", "product", "edit_instruction", "restore_instruction", "change",
            "target_path", "reference_path")  # fmt: skip
    return {
        "id": row["quadruplet_id"],
        "split": row["split_group"],
        **{key: row[key] for key in told},
        **{score.column: _rounded(row[score.column], score.factor) for score in scores},
        "target": numbers[row["target_sha256"]],
        "reference": numbers[row["reference_sha256"]],
        "box": edit["box"],
        "outline": edit["outline"],
    }


def _example(row: Row, pictures: Pictures, numbers: dict[str, int]) -> dict[str, Any]:
    told = ("stage", "reason", "items", "item_id", "detail", "path", "sentence")
    shown = [numbers[row[side]] for side in ("target_sha256", "reference_sha256") if row[side]]
    return {**{key: row[key] for key in told}, "photos": shown, "outline": pictures.regions.get(row["item_id"])}


def _rounded(value: float | None, factor: float) -> float | None:
    return float(f"{value * factor:.4g}") if value is not None and math.isfinite(value) else None


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
