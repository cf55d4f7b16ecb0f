"""Versions: what is published, and whether it still is what was published."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import DEFAULT_LAKE, AsJson, Assignments, Lake
from flows.output import print_json, print_table
from schemas.settings import load_settings

app = typer.Typer()


@app.command()
def publish(
    version: Annotated[str, typer.Argument(metavar="NAME", help="The version's name, for good.")],
    lake: Lake = DEFAULT_LAKE,
    licences: Annotated[
        list[str] | None, typer.Option("--licence", help="Publish only what bears a licence so named; repeatable.")
    ] = None,
    leave_out_leaks: Annotated[
        bool, typer.Option("--leave-out-leaks", help="Leave out what a benchmark holds, instead of refusing.")
    ] = False,
    preferences: Annotated[
        bool, typer.Option("--preferences", help="Add shards of preferences: the best and worst execution of an edit.")
    ] = False,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Publish the newest run's quadruplets, less the benchmark reserve, as an immutable version.

    Example: `omnirefiner publish v1 --lake lake`

    Example: `omnirefiner publish open1 --licence CC0-1.0 --licence CC-BY-4.0`
    """
    from tasks.lake import open_lake
    from tasks.versions import refuse_name

    refuse_name(open_lake(lake), version)
    named = [f"publish.licences={json.dumps(licences)}"] if licences else []
    named += ["publish.preferences=true"] if preferences else []
    manifest = publish_now(version, lake, [*(assignments or ()), *named], leave_out_leaks=leave_out_leaks)
    _print_version(manifest, lake, as_json)


def publish_now(
    version: str, lake: Path, assignments: Sequence[str] = (), *, leave_out_leaks: bool = False
) -> Mapping[str, Any]:
    """Publish and return the manifest."""
    from flows.server import prefect

    with prefect():
        from flows.publish import publish as flow

        return flow(version, str(lake), assignments, leave_out_leaks=leave_out_leaks)


def _print_version(manifest: Mapping[str, Any], lake: Path, as_json: bool) -> None:
    from tasks.lake import open_lake

    if as_json:
        print_json(manifest)
        return
    columns = ("sha256", "split_group", "samples", "live", "bytes")
    shards = [{key: shard[key] for key in columns} for shard in manifest["shards"]]
    preferred = sum(shard["samples"] for shard in manifest["preferences"])
    print_table(f"Version {manifest['name']}", shards)
    print(f"{manifest['samples']} samples, {manifest['bytes'] / 1e6:.1f} MB in {len(shards)} shards: "
          f"{open_lake(lake).manifest(manifest['name'])}")  # fmt: skip
    if manifest["settings"]["publish"]["preferences"]:
        print(f"{preferred} preferences: of edits that were executed more than once, and not equally well.")


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A version.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another, which is compared with it.")],
    lake: Lake = DEFAULT_LAKE,
    as_json: AsJson = False,
) -> None:
    """Compare two versions: what came, what left by which rule, what was made anew, and how the figures shifted.

    Example: `omnirefiner diff v1 v2 --lake lake`
    """
    from tasks.diff import compare
    from tasks.lake import open_lake

    found = compare(open_lake(lake), before, after)
    if as_json:
        print_json(found.model_dump())
        return
    counts = ("added", "dropped", "rewritten", "unchanged")
    print_table(f"From {before} to {after}", [
        {before: found.samples_before, after: found.samples_after, **{name: getattr(found, name) for name in counts}}
    ])  # fmt: skip
    if found.left:
        print_table(f"Of {before}, not as it was in {after}", [one.model_dump() for one in found.left])
    shifts = [{"figure": one.figure, before: one.before, after: one.after, "shift": f"{one.shift:.1%}"}
              for one in found.shifts]  # fmt: skip
    print_table("Shifts: the share of samples that would have to change for both to be alike", shifts)


@app.command()
def compact(
    version: Annotated[str, typer.Argument(help="The version whose samples are packed together.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name of the version that results.")],
    below: Annotated[float, typer.Option(min=0, max=1, help="Pack shards anew that are less full than this.")] = 0.9,
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Publish the samples of a version as a new one, in fewer and fuller shards.

    Example: `omnirefiner compact v7 v7-compact --below 0.9`
    """
    from tasks.lake import open_lake
    from tasks.manifests import read_manifest
    from tasks.versions import refuse_name

    the_lake = open_lake(lake)
    refuse_name(the_lake, new)
    before = read_manifest(the_lake, version)
    from flows.server import prefect

    with prefect():
        from flows.compact import compact as flow

        manifest = flow(version, new, below, str(lake), assignments or ())
    _print_version(manifest, lake, as_json)
    if not as_json:
        was, now = len(before["shards"]), len(manifest["shards"])
        print(f"{was} shards of {before['bytes'] / 1e6:.1f} MB became {now} of {manifest['bytes'] / 1e6:.1f} MB; "
              f"the old ones stay until no version needs them: `omnirefiner gc`")  # fmt: skip


@app.command()
def takedown(
    source: Annotated[str, typer.Argument(help="A photo's path or digest (SHA-256), or a product.")],
    reason: Annotated[str, typer.Option(help="Why: it is kept on record.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take down; do nothing.")] = False,
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Take a source down for good: nothing that follows holds it, and its bytes are not taken in again.

    Example: `omnirefiner takedown mug/front.jpg --reason "notice of 3 May"`
    """
    from flows.gc import take_down
    from tasks.lake import open_lake

    photos, holders = take_down(open_lake(lake), source, reason, dry_run=dry_run, wait=_patience(assignments))
    if as_json:
        print_json({"photos": [one.model_dump() for one in photos], "versions": [one.model_dump() for one in holders]})
        return
    shown = [{"photo": one.image_id[:16], "path": one.path, "product": one.product,
              "because": "named" if one.named else "shows the same"} for one in photos]  # fmt: skip
    print_table("Would be taken down" if dry_run else "Taken down", shown)
    if dry_run:
        print_table("Versions that hold what was made of it", [one.model_dump() for one in holders])
        return
    _print_holders([one.model_dump() for one in holders])


def _print_holders(holders: Sequence[Mapping[str, Any]]) -> None:
    """Say which versions hold what was taken down, and what to do about it."""
    if not holders:
        print(
            "No version holds anything made of it. Its bytes go with `omnirefiner gc`, then `omnirefiner gc --delete`."
        )
        return
    print_table("Versions that hold what was made of it", holders)
    names = [str(one["version"]) for one in holders]
    print("No version that is published from now on holds it. To let go of its bytes: publish the version's successor, "
          f"then `omnirefiner retire {' | '.join(names)}`, `omnirefiner gc` and, when nobody reads them any more, "
          "`omnirefiner gc --delete`.")  # fmt: skip
    if any(one["kind"] == "benchmark" for one in holders):
        print("A benchmark is among them: publish the next one and measure on that again, since figures of two "
              "benchmarks do not compare. What the retired one held stays guarded against leaks.")  # fmt: skip


@app.command()
def retire(
    version: Annotated[str, typer.Argument(help="The version that nobody shall read any more.")],
    reason: Annotated[str, typer.Option(help="Why: it is kept on record.")],
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
) -> None:
    """Withdraw a version for good, so that `gc` may delete what no other version needs. Its name stays taken.

    Example: `omnirefiner retire v1 --reason "holds what was taken down on 3 May"`
    """
    from flows.gc import retire_version
    from tasks.lake import open_lake

    retire_version(open_lake(lake), version, reason, wait=_patience(assignments))
    print(f"Version {version} is retired; `omnirefiner gc` says what nothing needs any more.")


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete what was marked long enough ago.")] = False,
    older_than: Annotated[float, typer.Option(min=0, metavar="DAYS", help="How long ago that is.")] = 7.0,
    lake: Lake = DEFAULT_LAKE,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Find what no version and no answer needs, and mark it with the day; later delete what is still not needed.

    Example: `omnirefiner gc`, and in a week `omnirefiner gc --delete`
    """
    from flows.gc import collect
    from tasks.lake import open_lake

    done = collect(open_lake(lake), days=older_than if delete else None, wait=_patience(assignments))
    deleted = set(done.deleted)
    if as_json:
        files = [{"path": path, "bytes": size, "since": done.since[path], "deleted": path in deleted}
                 for path, size in done.unneeded.items()]  # fmt: skip
        print_json({"unneeded": files, "taken_down_in": [one.model_dump() for one in done.held]})
        return
    folders: dict[str, dict[str, Any]] = {}
    for path, size in done.unneeded.items():
        name = path.partition("/")[0]
        row = folders.setdefault(name, {"folder": name, "files": 0, "MB": 0.0, "since": done.since[path], "deleted": 0})
        row["files"] += 1
        row["MB"] += size / 1e6
        row["since"] = min(row["since"], done.since[path])
        row["deleted"] += path in deleted
    if folders:
        print_table("Needed by no version and no answer", list(folders.values()))
        left = len(done.unneeded) - len(deleted)
        if left:
            print(
                f"{left} files are marked; `omnirefiner gc --delete` deletes them {older_than:g} days after their day."
            )
    else:
        print("Everything is needed.")
    if done.held:
        _print_holders([one.model_dump() for one in done.held])


def _patience(assignments: Sequence[str] | None) -> float:
    return load_settings(assignments=assignments or ()).run.wait_for_lake


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
