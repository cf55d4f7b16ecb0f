"""How far a stage is: a bar on a terminal, plain lines elsewhere. On standard error, so that results can be piped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 5.0  # seconds between plain lines


class Advance(Protocol):
    """Told of each chunk that is done, and of a total that has grown meanwhile."""

    def __call__(self, items: int, note: str = "", total: int | None = None) -> None: ...


Bar = Callable[[str, int], Advance]


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Show the progress of `total` items; the block is given a function to advance by items done."""
    with bars() as bar:
        yield bar(title, total)


@contextmanager
def bars() -> Iterator[Bar]:
    """Let the block open several, one below the other, each by its title and total."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda title, total: _lines(console, title, total)
        return
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        yield lambda title, total: _row(shown, title, total)


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


def _row(shown: Progress, title: str, total: int) -> Advance:
    row = shown.add_task(title, total=total, note="")

    def advance(items: int, note: str = "", total: int | None = None) -> None:
        shown.update(row, advance=items, note=note, total=total)

    return advance


def _lines(console: Console, title: str, total: int) -> Advance:
    start = said = time.monotonic()
    done, wanted = 0, total

    def advance(items: int, note: str = "", total: int | None = None) -> None:
        nonlocal done, said, wanted
        done += items
        wanted = wanted if total is None else total
        now = time.monotonic()
        if items and (done == wanted or now - said >= LINE_EVERY):
            said = now
            console.print(f"{title:<9} {done}/{wanted}  {now - start:.1f} s  {note}", highlight=False)

    return advance
