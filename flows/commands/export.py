"""Export: a version for everybody else's loaders."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Lake
from flows.output import print_json, print_table

app = typer.Typer()


@app.command()
def export(
    version: Annotated[str, typer.Argument(help="A published version.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    lake: Lake = DEFAULT_LAKE,
    shard_samples: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Samples a shard; as in the version's settings when left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Lay a version out in a folder that stands alone: shards, dataset card, Croissant, Energon's index, a manifest.

    Example: `omnirefiner export v1 v1-export --shard-samples 1000`
    """
    from flows.progress import progress
    from tasks.export import export as lay_out
    from tasks.lake import open_lake
    from tasks.manifests import read_manifest

    the_lake = open_lake(lake)
    manifest = read_manifest(the_lake, version)
    size = shard_samples or manifest["settings"]["shards"]["samples"]
    with progress("export", manifest["samples"]) as advance:
        exported = lay_out(the_lake, manifest, folder, size, advance)
    if as_json:
        print_json(exported)
        return
    print_table(f"Version {version}", [{"split": split, **counts} for split, counts in exported["splits"].items()])
    print(
        f"{exported['samples']} samples, {exported['bytes'] / 1e6:.1f} MB in {len(exported['shards'])} shards: {folder}"
    )
