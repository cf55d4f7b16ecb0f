"""Publish: the lake's current quadruplets become an immutable version, in shards that versions share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.annotations import quote

from flows.hold import hold
from flows.progress import progress
from flows.runtime import task_runner
from schemas.errors import VersionError
from schemas.settings import Settings, with_assignments
from tasks import catalog, ledger
from tasks.lake import Lake, open_lake
from tasks.leakage import leaks, refuse_leaks, refuse_unknown
from tasks.ledger import Row
from tasks.manifests import Manifest, manifests, read_manifest
from tasks.pack import Shard, pack_shard
from tasks.preferences import pack_preferences, preferences
from tasks.versions import is_cut_short, kept_shards, licensed, members, must_go, refuse_name, write_manifest


@flow(name="publish", flow_run_name="publish {version}", persist_result=False, validate_parameters=False)
def publish(
    version: str, lake: str = "lake", assignments: Sequence[str] = (), *, leave_out_leaks: bool = False
) -> Manifest:
    """Publish what the newest run's settings answered, less the benchmark reserve; return the manifest.

    `assignments` of `publish`, `shards` and `run` go on top of the settings that the run recorded.

    Shards of the newest version are kept where enough of their samples would be packed the same today; what they lack
    is packed anew.
    """
    the_lake = open_lake(Path(lake))
    with hold(the_lake, settings_of(newest_run(the_lake), assignments).run.wait_for_lake):
        return publish_version(the_lake, version, assignments, leave_out_leaks=leave_out_leaks)


def publish_version(
    lake: Lake, version: str, assignments: Sequence[str] = (), *, leave_out_leaks: bool = False
) -> Manifest:
    """Publish as the lake's writer. A version whose publishing was cut short at the very end is completed."""
    refuse_name(lake, version)
    if is_cut_short(lake, version):
        catalog.rebuild(lake)
        return read_manifest(lake, version)
    run = newest_run(lake)
    if not ledger.is_finished(lake, run["run_id"]):
        raise VersionError(
            f"version '{version}': run {run['run_id']} did not finish; run its build again, then publish"
        )
    settings = settings_of(run, assignments)
    with catalog.plan_of_run(lake, run) as connection:
        refuse_unknown(connection, lake)
        leaking = leaks(connection)
        if not leave_out_leaks:
            refuse_leaks(version, leaking)
        gone = must_go(connection, settings.publish.licences)
        leaked = {row["quadruplet_id"] for row in leaking}
        samples = [row for row in members(connection) if row["quadruplet_id"] not in leaked]
        samples = licensed(samples, settings.publish.licences)
        preferred = preferences(connection, samples) if settings.publish.preferences else []
    if not samples:
        raise VersionError(
            f"version '{version}': there are no quadruplets to publish, apart from any in the benchmark reserve or of "
            "another licence; `omnirefiner status` says where they stopped"
        )
    parent = next((m for m in reversed(manifests(lake)) if m["kind"] == "training"), None)
    kept, unpacked = kept_shards(lake, parent, samples, gone, settings.shards)
    with task_runner(settings) as runner:
        packed = _pack(lake, settings, runner, unpacked)
        second = _pack_preferences(lake, settings, runner, preferred)
    shards = [*kept, *packed]
    manifest = write_manifest(lake, version, shards, samples, parent, run, settings, preferences=second)
    catalog.rebuild(lake)
    create_table_artifact(key="shards", table=manifest["shards"], description=f"Shards of version {version}")
    return manifest


def newest_run(lake: Lake) -> Row:
    """Return the row of the newest run. Raises VersionError where nothing was built yet."""
    run = ledger.newest_run(lake)
    if run is None:
        raise VersionError(f"lake {lake.root}: nothing was built yet; run `omnirefiner build PHOTOS` first")
    return run


def settings_of(run: Row, assignments: Sequence[str]) -> Settings:
    """Return the settings of a run, with those of publishing on top."""
    return with_assignments(ledger.settings_of(run), assignments, ("publish", "shards", "run"))


def _pack(lake: Lake, settings: Settings, runner: TaskRunner[Any], samples: Sequence[Row]) -> list[Shard]:
    quality = settings.shards.jpeg_quality
    return _packed("pack", len(samples), [
        runner.submit(pack, {"lake": lake, "samples": quote(chunk), "jpeg_quality": quality})
        for chunk in _chunks(samples, settings.shards.samples)
    ])  # fmt: skip


def _pack_preferences(lake: Lake, settings: Settings, runner: TaskRunner[Any], found: Sequence[Row]) -> list[Shard]:
    return _packed("preferences", len(found), [
        runner.submit(prefer, {"lake": lake, "found": quote(chunk)})
        for chunk in _chunks(found, settings.shards.samples)
    ])  # fmt: skip


def _chunks(samples: Sequence[Row], size: int) -> list[list[Row]]:
    groups = [[row for row in samples if row["split_group"] == group] for group in ("train", "validation")]
    return [group[start : start + size] for group in groups for start in range(0, len(group), size)]


def _packed(what: str, total: int, futures: Sequence[PrefectFuture[Shard]]) -> list[Shard]:
    shards = []
    with progress(what, total) as advance:
        for future in futures:
            shards.append(future.result())
            advance(shards[-1].samples)
    return shards


@task(name="pack", cache_policy=NO_CACHE, persist_result=False)
def pack(lake: Lake, samples: Sequence[Row], jpeg_quality: int) -> Shard:
    """Pack one shard."""
    return pack_shard(lake, samples, jpeg_quality)


@task(name="prefer", cache_policy=NO_CACHE, persist_result=False)
def prefer(lake: Lake, found: Sequence[Row]) -> Shard:
    """Pack one shard of preferences."""
    return pack_preferences(lake, found)
