"""The command `omnirefiner`: each command validates what it is given, does its work, and says what came of it."""

import io
import logging
import os
import signal
import sys
import traceback
from typing import NoReturn

import typer

from flows.commands import (
    benchmark,
    build,
    catalogue,
    curate,
    dedup,
    demo,
    engines,
    export,
    refine,
    review,
    train,
    versions,
)
from flows.output import printable
from schemas.errors import Interrupted, ProjectError
from tasks.lake import DISK_TROUBLE

# Flows raise what went wrong and this command says it in one line; Prefect need not log it as a traceback too.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_INTERNAL_LEVEL", "CRITICAL")
logging.getLogger("EventsWorker").setLevel(logging.CRITICAL)  # Prefect's, and under none of its settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="From product photos to versioned datasets for reference-guided image refiners.",
)
for commands in (build, curate, dedup, review, versions, export, catalogue, engines, train, refine, benchmark, demo):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command; trouble that a person can mend ends in one line and exit code 2, an interruption in 130."""
    interrupted: list[int] = []

    def interrupt(number: int, _frame: object) -> NoReturn:
        interrupted.append(number)
        raise Interrupted

    for output in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter shows its escape
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        app()
    except ProjectError as error:
        _give_up(error, str(error))
    except Interrupted:
        _stopped()
    except Exception as error:
        if interrupted:  # Prefect wraps it on some paths
            _stopped()
        if isinstance(error, OSError) and (error.filename or error.errno in DISK_TROUBLE):
            _give_up(error, f"{error.filename or 'the disk'}: {error.strerror}; mend that and run it again")
        raise


def _stopped() -> NoReturn:
    print("omnirefiner: stopped; run the same command again to go on where it was", file=sys.stderr, flush=True)
    os._exit(130)  # at once: what was under way is written, and threads that still work are of no more use


def _give_up(error: Exception, message: str) -> NoReturn:
    # Prefect keeps the error to the end; DuckDB complains then of every object that its frames still hold
    traceback.clear_frames(error.__traceback__)
    print(f"omnirefiner: {printable(message)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
