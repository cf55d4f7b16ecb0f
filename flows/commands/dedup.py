"""Near-duplicates: the clusters that the newest build found, told and drawn."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Lake
from flows.output import print_json, print_table
from schemas.errors import ProjectError

app = typer.Typer()


@app.command()
def dedup(
    lake: Lake = DEFAULT_LAKE,
    count: Annotated[int, typer.Option(min=1, max=400, help="How many clusters are listed, the largest first.")] = 20,
    sheet: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them; .jpg or .png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the clusters of photos that are one picture, the largest first: which photo is kept, and the links.

    A build finds them. Of a cluster only the keeper is paired; all of it lies in one split group.

    Example: `omnirefiner dedup --sheet duplicates.jpg`
    """
    from tasks.catalog import read
    from tasks.duplicates import counts, largest
    from tasks.lake import open_lake
    from tasks.sheet import write_cluster_sheet

    the_lake = open_lake(lake)
    with read(the_lake) as connection:
        found, clusters = counts(connection), largest(connection, count)
    if sheet is not None:
        if not clusters:
            raise ProjectError("dedup --sheet: there are no clusters to draw; see `omnirefiner status`")
        write_cluster_sheet(the_lake, clusters, sheet)
    if as_json:
        print_json({"counts": found.model_dump(), "largest": [cluster.model_dump() for cluster in clusters]})
        return
    print_table("Near-duplicates", [found.model_dump()])
    if clusters:
        print_table("The largest clusters", [cluster.row() for cluster in clusters])
    if sheet is not None:
        print(f"{len(clusters)} clusters: {sheet}")
