"""Build: from photos to quadruplets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, DEFAULT_PROFILE, AsJson, Assignments, Lake, Profile
from flows.commands.versions import publish_now
from flows.output import duration, print_funnel, print_json, print_table
from schemas.settings import load_settings

app = typer.Typer()


@app.command()
def build(
    photos: Annotated[Path, typer.Argument(help="A folder of photos, one folder a product or flat; or a manifest.")],
    lake: Lake = DEFAULT_LAKE,
    profile: Profile = DEFAULT_PROFILE,
    assignments: Assignments = None,
    limit: Annotated[int | None, typer.Option(min=1, help="List only the first N photos, by path.")] = None,
    publish: Annotated[str | None, typer.Option(metavar="NAME", help="Publish the result as this version.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Tell the judge of no product, so that `calibrate` can measure it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is to do and how long; do nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build quadruplets from photos; what the lake already answers is not done again.

    Example: `omnirefiner build photos --lake lake --limit 50`
    """
    settings = load_settings(profile, assignments or ())
    from tasks.fingerprints import fingerprints

    fingerprints(settings)  # reads the weights that the settings name
    from tasks.listing import list_photos

    listed = list_photos(photos, limit, blind=blind)
    if dry_run:
        _dry_run(listed, lake, settings, as_json)
        return
    from tasks.lake import Lake as TheLake
    from tasks.settled import settled
    from tasks.versions import refuse_name

    if publish:
        refuse_name(TheLake(lake), publish)
    summary = settled(lake, settings, listed, complete=limit is None)
    if summary is None:
        from flows.server import prefect

        with prefect():
            from flows.build import build as build_flow

            summary = build_flow(str(photos), str(lake), profile, assignments or [], limit, publish, blind)
    elif publish:
        publish_now(publish, lake)
        summary.version = publish
    if as_json:
        print_json(summary.model_dump(mode="json"))
        raise typer.Exit(1 if summary.funnel.failures else 0)
    if summary.steps:
        cost = {"requests", "retries", "tokens_in", "tokens_out"}
        hidden = set() if any(step.requests for step in summary.steps) else cost
        print_table("What this run did", [step.model_dump(exclude=hidden) for step in summary.steps])
    else:
        print(f"Nothing to do: run {summary.run_id} answered everything under these settings.")
    print_funnel(summary.funnel)
    where = f" --lake {lake}" if lake != DEFAULT_LAKE else ""
    print(f"\nLake: {summary.lake}")
    if summary.version:
        print(f"Version '{summary.version}' is published; check it with `omnirefiner verify {summary.version}{where}`")
    elif summary.funnel.quadruplets:
        print(f"Look at them: `omnirefiner sheet{where}`; publish them: `omnirefiner publish NAME{where}`")
    else:
        print(f"No quadruplets came out; `omnirefiner status{where}` says where they stopped")
    if summary.funnel.failures:
        print(
            f"{summary.funnel.failures} items failed and are asked again by the next run: `omnirefiner status{where}`"
        )
        raise typer.Exit(1)


def _dry_run(listed: Sequence[Any], lake: Path, settings: Any, as_json: bool) -> None:
    from tasks.catalog import plan
    from tasks.fingerprints import fingerprints
    from tasks.forecast import forecast
    from tasks.lake import Lake as TheLake

    with plan(TheLake(lake), fingerprints(settings), settings) as connection:
        forecasts = forecast(connection, listed, settings)
    found = [one.model_dump() for one in forecasts]
    if as_json:
        print_json(found)
        return
    gpu_hours = sum(one.gpu_hours for one in forecasts)
    shown = found if gpu_hours else [{key: row[key] for key in row if key != "gpu_hours"} for row in found]
    print_table(f"What a build of {len(listed)} photos would do", shown)
    seconds = sum(one.seconds for one in forecasts) / settings.run.workers
    held = f", {gpu_hours:.1f} GPU-hours" if gpu_hours else ""
    print(f"About {duration(seconds)} with {settings.run.workers} workers{held}. Nothing was done.")
