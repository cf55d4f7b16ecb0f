"""What commands print: tables for people, JSON for machines. Nothing that is printed can command a terminal."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_funnel(found: Any) -> None:
    """Print a `tasks.summary.Funnel`: what got through, and what was turned down for which reason."""
    counts = ("photos", "images", "duplicates", "pairs_compared", "pairs", "instructions", "edits", "quadruplets",
              "curated", "held_back")  # fmt: skip
    print_table("From photos to quadruplets", [{name: getattr(found, name) for name in counts}])
    if found.quadruplets:
        print_table("Quadruplets", [{**found.by_task, **found.by_category}])
    refused = [
        {"stage": stage, "refused for": reason, "items": items}
        for stage, reasons in found.refused.items()
        for reason, items in reasons.items()
    ]
    if refused:
        print_table("Turned down", refused)


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same columns; numbers to the right."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    if not rows:
        console.print("(no rows)")
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table, markup=False)


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return Text(f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}")
    return Text("" if value is None else printable(str(value)))


def printable(text: str) -> str:
    """Return a text with its control characters as escapes: a file's name must not command a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(value: Any) -> None:
    """Print a value as JSON, control characters escaped."""
    text = json.dumps(_plain(value), indent=1, ensure_ascii=False, default=str)
    print(re.sub("[\x7f-\x9f]", lambda control: f"\\u{ord(control[0]):04x}", text))


def _plain(value: Any) -> Any:
    """Return a value that JSON can say: not-a-number as null, bytes as hex."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
