"""The command `omnirefiner`: each command validates what it is given, does its work, and says what came of it."""

import io
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from flows.output import duration, print_funnel, print_json, print_table, printable
from schemas.errors import PrefectError, ProjectError, ServerError, VersionError
from schemas.records import Score
from schemas.settings import load_settings
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

Lake = Annotated[Path, typer.Option("--lake", help="The folder that holds everything.")]
Profile = Annotated[str, typer.Option("--profile", help="A profile's name, or a path to a .toml file.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting on top; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

DEFAULT_LAKE = Path("lake")
DEFAULT_PROFILE = "embedded"


class Interrupted(BaseException):
    """A signal to stop. No KeyboardInterrupt, for which Typer has an ending of its own."""


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
        with _prefect():
            from flows.build import build as build_flow

            summary = build_flow(str(photos), str(lake), profile, assignments or [], limit, publish, blind)
    elif publish:
        _publish(publish, lake)
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


@app.command()
def publish(
    version: Annotated[str, typer.Argument(metavar="NAME", help="The version's name, for good.")],
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Publish the newest run's quadruplets, less the benchmark reserve, as an immutable version.

    Example: `omnirefiner publish v1 --lake lake`
    """
    from tasks.lake import open_lake
    from tasks.versions import refuse_name

    refuse_name(open_lake(lake), version)
    manifest = _publish(version, lake, assignments or [])
    if as_json:
        print_json(manifest)
        return
    shards = [{key: shard[key] for key in ("sha256", "samples", "bytes")} for shard in manifest["shards"]]
    print_table(f"Version {version}", shards)
    print(f"{manifest['samples']} samples, {manifest['bytes'] / 1e6:.1f} MB in {len(shards)} shards: "
          f"{open_lake(lake).manifest(version)}")  # fmt: skip


def _publish(version: str, lake: Path, assignments: Sequence[str] = ()) -> Mapping[str, Any]:
    with _prefect():
        from flows.publish import publish as flow

        return flow(version, str(lake), assignments)


@app.command()
def verify(
    version: Annotated[str | None, typer.Argument(help="A version; all of them when left out.")] = None,
    lake: Lake = DEFAULT_LAKE,
    as_json: AsJson = False,
) -> None:
    """Read published versions from end to end; name whatever is not as it was published. Exit code 1 if anything is.

    Example: `omnirefiner verify v1 --lake lake`
    """
    raise typer.Exit(_verify(version, lake, as_json))


def _verify(version: str | None, lake: Path, as_json: bool = False) -> int:
    from tasks.lake import open_lake
    from tasks.manifests import read_manifest

    the_lake = open_lake(lake)
    if version:
        read_manifest(the_lake, version)
    with _prefect():
        from flows.verify import verify as flow

        manifests, findings = flow(version, str(lake))
    if as_json:
        print_json({"versions": [m["name"] for m in manifests], "findings": [vars(f) for f in findings]})
    elif findings:
        print_table("Not as published", [vars(finding) for finding in findings])
    else:
        samples = sum(manifest["samples"] for manifest in manifests)
        print(f"All as published: {len(manifests)} versions, {samples} samples, every digest, part and index.")
    return 1 if findings else 0


@app.command()
def status(lake: Lake = DEFAULT_LAKE, as_json: AsJson = False) -> None:
    """Show what the lake holds: the funnel from photos to quadruplets, the newest runs, the versions.

    Example: `omnirefiner status --lake lake`
    """
    from tasks.catalog import read, rows
    from tasks.lake import open_lake
    from tasks.summary import funnel

    with read(open_lake(lake)) as connection:
        found = funnel(connection)
        runs = rows(connection, "SELECT run_id, started_at, status, photos, profile, code FROM runs"
                                " ORDER BY run_id DESC LIMIT 5")  # fmt: skip
        versions = rows(connection, "SELECT version, parent, samples, bytes, shards, published_at FROM versions"
                                    " ORDER BY sequence")  # fmt: skip
        failures = rows(connection, "SELECT stage, count(*) AS items, any_value(detail) AS one_of_them FROM failures"
                                    " GROUP BY stage ORDER BY stage")  # fmt: skip
    if as_json:
        print_json({"funnel": found.model_dump(), "runs": runs, "versions": versions, "failures": failures})
        return
    print_funnel(found)
    print_table("Newest runs", runs)
    if versions:
        print_table("Versions", versions)
    if failures:
        print_table("Failed, and asked again by the next run", failures)


@app.command()
def why(
    item: Annotated[str, typer.Argument(metavar="ID", help="An id (its beginning is enough) or a photo's path.")],
    lake: Lake = DEFAULT_LAKE,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a photo, pair, edit or quadruplet: what was made of it, what was turned down and why.

    Example: `omnirefiner why mug/front.jpg --lake lake`
    """
    from tasks.catalog import read
    from tasks.lake import open_lake
    from tasks.why import story

    with read(open_lake(lake)) as connection:
        lines = [line.model_dump() for line in story(connection, item)]
    if as_json:
        print_json(lines)
    else:
        print_table(item, [line | {"id": line["id"][:12]} for line in lines])


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SQL question over the catalogue's views.")],
    lake: Lake = DEFAULT_LAKE,
    as_json: AsJson = False,
) -> None:
    """Ask the catalogue in SQL; it is opened read-only and can touch no file of this machine.

    Example: `omnirefiner query "SELECT category, count(*) FROM quadruplets GROUP BY 1"`
    """
    from tasks.catalog import ask, read
    from tasks.lake import open_lake

    with read(open_lake(lake)) as connection:
        found = ask(connection, sql)
    if as_json:
        print_json(found)
    else:
        print_table("", found)


@app.command()
def rebuild(lake: Lake = DEFAULT_LAKE, profile: Profile = DEFAULT_PROFILE, assignments: Assignments = None) -> None:
    """Make the catalogue anew from the ledger and the manifests, should it be lost or stale.

    Example: `omnirefiner rebuild --lake lake`
    """
    from flows.hold import hold
    from tasks.catalog import rebuild as rebuild_catalog
    from tasks.lake import open_lake
    from tasks.manifests import names, read_manifest

    the_lake = open_lake(lake)
    with hold(the_lake, load_settings(profile, assignments or ()).run.wait_for_lake):
        rebuild_catalog(the_lake)
    print(f"The catalogue is as the ledger says: {the_lake.snapshot}")
    for name in names(the_lake):
        try:
            read_manifest(the_lake, name)
        except VersionError as error:
            print(f"Left out: {error}")


@app.command()
def sheet(
    out: Annotated[Path, typer.Argument(help="The picture to write; .jpg or .png.")] = Path("sheet.jpg"),
    lake: Lake = DEFAULT_LAKE,
    count: Annotated[int, typer.Option(min=1, max=400, help="Quadruplets, by their digests; pairs, in thirds.")] = 12,
    where: Annotated[str, typer.Option(help="A condition over the view quadruplets, in SQL.")] = "true",
    pairs: Annotated[
        Score | None, typer.Option(help="Draw pairs instead: the best, the median and the worst by this score.")
    ] = None,
) -> None:
    """Draw a contact sheet of quadruplets: reference, input, ground truth and the two instructions. Or one of pairs.

    Example: `omnirefiner sheet text.jpg --where "category = 'text'" --count 20`

    Example: `omnirefiner sheet styles.jpg --pairs style --count 24`
    """
    from tasks.catalog import ask, read
    from tasks.lake import open_lake
    from tasks.sheet import ranked_pairs, write_pair_sheet, write_sheet

    the_lake = open_lake(lake)
    if pairs is not None:
        if where != "true":
            raise ProjectError("sheet: --where chooses quadruplets and --pairs draws pairs; give one of them")
        with read(the_lake) as connection:
            ranked = ranked_pairs(connection, pairs, count)
        if not ranked:
            raise ProjectError("sheet: no scored pairs; see `omnirefiner status`")
        write_pair_sheet(the_lake, ranked, pairs, out)
        print(f"{len(ranked)} pairs: {out}")
        return
    with read(the_lake) as connection:
        sql = f"SELECT * FROM quadruplets WHERE accepted AND ({where}) ORDER BY quadruplet_id LIMIT {count}"
        found = ask(connection, sql)
    if not found:
        raise ProjectError(f"sheet: no quadruplets where {where}; see `omnirefiner status`")
    write_sheet(the_lake, found, out)
    print(f"{len(found)} quadruplets: {out}")


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("report.html"),
    lake: Lake = DEFAULT_LAKE,
    version: Annotated[str | None, typer.Option(help="Of this version's samples, not of the newest run's.")] = None,
    against: Annotated[str | None, typer.Option(help="And what was added and dropped since this other one.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="How many are shown in pictures, drawn by their digests.")] = 1000,
) -> None:
    """Write a report that opens offline: the funnel, distributions, timings, and samples to look through, in one file.

    Example: `omnirefiner report v2.html --version v2 --against v1`
    """
    if against and not version:
        raise ProjectError(f"report --against {against}: against it goes a version; name that with --version")
    from flows.progress import progress
    from tasks.lake import open_lake
    from tasks.report import pictures_in, write_report
    from tasks.report.figures import collect

    the_lake = open_lake(lake)
    figures = collect(the_lake, version, against, samples)
    with progress("report", pictures_in(figures)) as advance:
        write_report(the_lake, figures, out, advance)
    print(f"{len(figures.samples)} of {figures.facts['total']} samples: {out}")


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

    Pairs need a lake built with --blind, or --labels; instructions need rendered photos, which know the truth. Of those
    some edits are executed again, at rising strengths, by the editor of the newest run.

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


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="A new or empty folder for the photos and their truth.")],
    products: Annotated[int, typer.Option(min=1, help="How many products.")] = 8,
    views: Annotated[int, typer.Option(min=1, help="How many photos of each; every sixth shows the back.")] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, other products.")] = 0,
    size: Annotated[int, typer.Option(min=128, max=2048, help="Pixels of the longer side.")] = 640,
    hard_negatives: Annotated[
        bool, typer.Option("--hard-negatives", help="Products in threes: one, a look-alike, a twin with another text.")
    ] = False,
) -> None:
    """Render photos of products that do not exist, with the truth about them in truth.jsonl.

    Example: `omnirefiner render photos --products 12 --views 6`
    """
    from tasks.render.photos import render_set

    render_set(out, products, views, seed, size, hard_negatives)
    print(f"{products} products, {products * views} photos: {out}")


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to put photos and lake.")] = Path("demo")) -> None:
    """Run the whole job on rendered photos: render, build, publish version 'demo', verify.

    Example: `omnirefiner demo`
    """
    photos, lake, picture, page = folder / "photos", folder / "lake", folder / "sheet.jpg", folder / "report.html"
    if not (photos / "truth.jsonl").exists():  # written last
        render(photos)
    published = (lake / "versions" / "demo.json").exists()
    build(photos, lake, publish=None if published else "demo")
    sheet(picture, lake)
    report(page, lake)
    if _verify("demo", lake):
        raise typer.Exit(1)
    print(f"""
Photos:      {photos}
Lake:        {lake}  (shards/, versions/demo.json, catalog.duckdb)
Picture:     {picture}
Report:      {page}  (open it in a browser)

Next (after `. .venv/bin/activate`):
  omnirefiner status --lake {lake}
  omnirefiner query "SELECT task, category, count(*) AS n FROM quadruplets GROUP BY ALL ORDER BY n DESC" --lake {lake}
  omnirefiner why box-set0-00000/00.jpg --lake {lake}
  omnirefiner build YOUR_PHOTOS --lake lake""")


@contextmanager
def _prefect() -> Iterator[None]:
    """Have a Prefect server at hand, before the flows are imported."""
    print("Starting Prefect", file=sys.stderr)
    from httpx import HTTPError

    from flows.server import server

    try:
        with server():
            yield
    except (HTTPError, RuntimeError) as error:  # what engines raise stays within their stage
        if isinstance(error, RuntimeError) and "API" not in str(error):
            raise
        raise PrefectError(
            f"prefect: its server does not answer ({str(error).rstrip('.')}); check PREFECT_API_URL and PREFECT_HOME, "
            "or unset them for the embedded server, then run the same command again: nothing is lost"
        ) from error


if __name__ == "__main__":
    main()
