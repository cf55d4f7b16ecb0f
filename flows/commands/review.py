"""Review: people look at what was made, one at a time, and say what to keep."""

import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Lake
from flows.output import print_json, print_table
from schemas.errors import Interrupted, LakeBusy, ProjectError
from schemas.reviews import Kind

app = typer.Typer()


class What(StrEnum):
    """What is looked at."""

    PAIRS = "pairs"
    EDITS = "edits"
    SAMPLES = "samples"

    @property
    def kind(self) -> Kind:
        """Return what each of them is."""
        return Kind(self.removesuffix("s"))


@app.command()
def review(
    what: Annotated[What, typer.Argument(help="What is looked at.")] = What.SAMPLES,
    lake: Lake = DEFAULT_LAKE,
    reviewer: Annotated[str | None, typer.Option(metavar="NAME", help="Whose verdicts these are.")] = None,
    where: Annotated[str, typer.Option(help="A condition over the view pairs, edits or quadruplets, in SQL.")] = "true",
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many, drawn by their digests.")] = 100,
    order: Annotated[
        Literal["digest", "unreviewed", "disputed"],
        typer.Option(help="First by digest, or what the fewest others judged, or what others agree on least."),
    ] = "digest",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine's loopback; 0: any that is free.")] = 0,
    agreement: Annotated[bool, typer.Option("--agreement", help="Only print how far reviewers agree.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at pairs, edits or samples in the browser, one at a time, and keep or drop each by a key, until Ctrl-C.

    What this reviewer has not judged yet comes first. Verdicts are in the ledger as soon as the page goes on, also
    while a build writes to the lake; several reviewers may look at once.

    Example: `omnirefiner review samples --reviewer anna --where "category = 'text'" --count 50`
    """
    from tasks.lake import open_lake

    the_lake = open_lake(lake)
    if agreement:
        from benchmark.review.agreement import agreement_tables

        tables = agreement_tables(the_lake)
        if as_json:
            print_json(tables)
            return
        for title, table in tables.items():
            print_table(title, table)
        return
    if reviewer is None:
        raise ProjectError("review: whose verdicts are these? Give --reviewer NAME")
    from benchmark.review.items import Order
    from benchmark.review.server import serving
    from benchmark.review.session import open_session

    session = open_session(the_lake, what.kind, reviewer, where, count, Order(order))
    with suppress(Interrupted), serving(session, port) as address:
        print(f"{len(session.drawn.rows)} {what} for {reviewer}; open this, Ctrl-C ends:\n{address}", flush=True)
        threading.Event().wait()
    print(f"{session.judged()} of {len(session.drawn.rows)} judged.")
    _show_in_catalogue(the_lake.root)


def _show_in_catalogue(root: Path) -> None:
    """Renew the catalogue, where nobody else is writing to the lake who will."""
    from flows.hold import hold
    from tasks.catalog import rebuild
    from tasks.lake import open_lake

    try:
        with hold(open_lake(root), 0):
            rebuild(open_lake(root))
    except LakeBusy:
        print("A build is writing to the lake: the catalogue shows the verdicts when it ends.")
