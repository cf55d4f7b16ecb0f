"""The catalogue: asked, told of, drawn, and made anew."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_LAKE, DEFAULT_PROFILE, AsJson, Assignments, Lake, Profile
from flows.output import print_funnel, print_json, print_table
from schemas.errors import ProjectError, VersionError
from schemas.records import Score
from schemas.settings import load_settings

app = typer.Typer()


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
    where: Annotated[str, typer.Option(help="A condition over the view samples, in SQL.")] = "true",
    by: Annotated[
        str | None, typer.Option(metavar="SCORE", help="Those that are worst by this score, the worst first.")
    ] = None,
    pairs: Annotated[
        Score | None, typer.Option(help="Draw pairs instead: the best, the median and the worst by this score.")
    ] = None,
) -> None:
    """Draw a contact sheet of quadruplets: reference, input, ground truth and the two instructions. Or one of pairs.

    Example: `omnirefiner sheet text.jpg --where "category = 'text'" --count 20`

    Example: `omnirefiner sheet blurred.jpg --by sharpness`

    Example: `omnirefiner sheet styles.jpg --pairs style --count 24`
    """
    from tasks.catalog import ask, read
    from tasks.lake import open_lake
    from tasks.sheet import order_by, ranked_pairs, write_pair_sheet, write_sheet

    the_lake = open_lake(lake)
    if pairs is not None:
        if where != "true" or by is not None:
            raise ProjectError("sheet: --where and --by choose quadruplets and --pairs draws pairs; give one of them")
        with read(the_lake) as connection:
            ranked = ranked_pairs(connection, pairs, count)
        if not ranked:
            raise ProjectError("sheet: no scored pairs; see `omnirefiner status`")
        write_pair_sheet(the_lake, ranked, pairs, out)
        print(f"{len(ranked)} pairs: {out}")
        return
    scored, order = order_by(by)
    with read(the_lake) as connection:
        sql = f"SELECT * FROM samples WHERE ({where}) AND ({scored}) ORDER BY {order} LIMIT {count}"
        found = ask(connection, sql)
    if not found:
        unscored = f" with a score of {by}" if by else ""
        raise ProjectError(f"sheet: no quadruplets where {where}{unscored}; see `omnirefiner status`")
    write_sheet(the_lake, found, out, by)
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
