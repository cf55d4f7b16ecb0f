"""Engines: are they fit for a run, how often are they right, how are their models served."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import DEFAULT_LAKE, DEFAULT_PROFILE, AsJson, Assignments, Lake, Profile
from flows.output import print_json, print_table
from schemas.errors import Interrupted, ServerError
from schemas.settings import load_settings

app = typer.Typer()


@app.command()
def doctor(
    lake: Lake = DEFAULT_LAKE,
    profile: Profile = DEFAULT_PROFILE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Check that this machine, the profile and the lake are fit for a run. Exit code 1 if something is not.

    Example: `omnirefiner doctor --profile embedded`
    """
    from tasks.doctor import examine

    checks = [check.model_dump() for check in examine(load_settings(profile, assignments or ()), lake)]
    if as_json:
        print_json(checks)
    else:
        print_table("", checks)
    raise typer.Exit(1 if any(check["verdict"] == "bad" for check in checks) else 0)


@app.command()
def calibrate(
    lake: Lake = DEFAULT_LAKE,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV file: product, and path (of a photo) or kind (of the product).")
    ] = None,
    precision: Annotated[float, typer.Option(min=0.5, max=1, help="That a proposed cut must reach.")] = 0.98,
    out: Annotated[Path, typer.Option(help="The picture of the curve; .png.")] = Path("calibration.png"),
    as_json: AsJson = False,
) -> None:
    """Hold what the engines answered against labels: how often they are right, at which cut, on products not tuned on.

    Pairs need a lake built with --blind, or --labels, or people's verdicts (`omnirefiner review`), by which the judge's
    cut of samples is proposed as well. Instructions need rendered photos, which know the truth. Of those some edits are
    executed again, at rising strengths, by the editor of the newest run.

    Example: `omnirefiner calibrate --lake trial --labels kinds.csv`
    """
    from flows.progress import progress
    from tasks.calibrate.measure import measure, steps
    from tasks.calibrate.tables import CURVED
    from tasks.lake import open_lake

    the_lake = open_lake(lake)
    with progress("calibrate", steps(the_lake)) as advance:
        tables = measure(the_lake, labels, precision, out, advance)
    if as_json:
        print_json(tables)
        return
    for title, table in tables.items():
        print_table(title, table)
    if CURVED in tables:
        print(f"Curve: {out}")


@app.command()
def serve(
    what: Annotated[Literal["vlm", "judge", "editor"], typer.Argument(help="The writer's model, or another's.")],
    profile: Profile = DEFAULT_PROFILE,
    assignments: Assignments = None,
    show: Annotated[
        bool, typer.Option("--print", help="Print the command that starts the server; do nothing.")
    ] = False,
) -> None:
    """Serve a model on this machine, as the profile says, until Ctrl-C.

    Example: `omnirefiner serve vlm --profile gpu1`
    """
    from tasks.serving import serving, shell_line, why_it_ended

    settings = load_settings(profile, assignments or ())
    servers = {"vlm": settings.writer.vlm, "judge": settings.judge.vlm, "editor": settings.edit.images_api}[what]
    if show:
        print(shell_line(servers))
        return
    from flows.progress import waiting

    log = Path(tempfile.mkdtemp(prefix="omnirefiner-")) / f"{what}.log"
    print(f"Starting the server of {servers.model}; what it says: {log}", file=sys.stderr)
    with suppress(Interrupted), serving(servers, log, waiting(what)) as process:
        print(servers.endpoints[0], flush=True)
        if process is None:
            print("It was served there already, and is left as it is.", file=sys.stderr)
            return
        print("It answers. Ctrl-C ends it.", file=sys.stderr)
        process.wait()
        raise ServerError(f"server of {servers.model}: it has ended ({why_it_ended(log)}); see {log}")
