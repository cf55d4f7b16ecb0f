"""How far a stage is: a bar on a terminal, plain lines elsewhere, and an artifact for those who look at Prefect.

On standard error, so that results can be piped.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SAY_EVERY = 5.0  # seconds between plain lines, and between calls to Prefect's server


class Advance(Protocol):
    """Told of each chunk that is done."""

    def __call__(self, items: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show the progress of `total` items; the block is given a function to advance by items done."""
    console = Console(stderr=True)
    with (_bar if console.is_terminal else _lines)(console, title, total) as show:
        artifact: Any = None
        done, told = 0, time.monotonic()

        def advance(items: int, note: str = "") -> None:
            nonlocal artifact, done, told
            show(items, note)
            done += items
            if time.monotonic() - told >= SAY_EVERY:
                told = time.monotonic()
                artifact = artifact or create_progress_artifact(progress=0.0, key=f"{title.replace(' ', '-')}-progress")
                update_progress_artifact(artifact, progress=100 * done / total)

        yield advance


@contextmanager
def _bar(console: Console, title: str, total: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(title, total=total, note="")

        def advance(items: int, note: str = "") -> None:
            bar.update(row, advance=items, note=note)

        yield advance


@contextmanager
def _lines(console: Console, title: str, total: int) -> Iterator[Advance]:
    start = said = time.monotonic()
    done = 0

    def advance(items: int, note: str = "") -> None:
        nonlocal done, said
        done += items
        now = time.monotonic()
        if done == total or now - said >= SAY_EVERY:
            said = now
            console.print(f"{title:<9} {done}/{total}  {now - start:.1f} s  {note}", highlight=False)

    yield advance
