"""Versions: what is published, and whether it still is what was published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments, Lake
from flows.output import print_json, print_table

app = typer.Typer()


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
    manifest = publish_now(version, lake, assignments or [])
    if as_json:
        print_json(manifest)
        return
    shards = [{key: shard[key] for key in ("sha256", "samples", "bytes")} for shard in manifest["shards"]]
    print_table(f"Version {version}", shards)
    print(f"{manifest['samples']} samples, {manifest['bytes'] / 1e6:.1f} MB in {len(shards)} shards: "
          f"{open_lake(lake).manifest(version)}")  # fmt: skip


def publish_now(version: str, lake: Path, assignments: Sequence[str] = ()) -> Mapping[str, Any]:
    """Publish and return the manifest."""
    from flows.server import prefect

    with prefect():
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
    raise typer.Exit(verified(version, lake, as_json))


def verified(version: str | None, lake: Path, as_json: bool = False) -> int:
    """Verify, print what was found, and return the exit code."""
    from tasks.lake import open_lake
    from tasks.manifests import read_manifest

    the_lake = open_lake(lake)
    if version:
        read_manifest(the_lake, version)
    from flows.server import prefect

    with prefect():
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
