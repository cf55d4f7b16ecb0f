"""How far a stage is: a bar on a terminal, plain lines elsewhere. On standard error, so that results can be piped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 5.0  # seconds between plain lines


class Advance(Protocol):
    """Told of each chunk that is done."""

    def __call__(self, items: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show the progress of `total` items; the block is given a function to advance by items done."""
    console = Console(stderr=True)
    yield from _bar(console, title, total) if console.is_terminal else _lines(console, title, total)


def waiting(title: str) -> Callable[[float, str], None]:
    """Return what tells, now and then, for how long something has been waited for, and what it says meanwhile."""
    console = Console(stderr=True)
    said = 0.0

    def tell(seconds: float, line: str) -> None:
        nonlocal said
        if seconds - said >= LINE_EVERY:
            said = seconds
            console.print(
                f"{title}  {seconds:.0f} s  {line}", markup=False, highlight=False, overflow="ellipsis", no_wrap=True
            )

    return tell


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


def _lines(console: Console, title: str, total: int) -> Iterator[Advance]:
    start = said = time.monotonic()
    done = 0

    def advance(items: int, note: str = "") -> None:
        nonlocal done, said
        done += items
        now = time.monotonic()
        if done == total or now - said >= LINE_EVERY:
            said = now
            console.print(f"{title:<9} {done}/{total}  {now - start:.1f} s  {note}", highlight=False)

    yield advance
