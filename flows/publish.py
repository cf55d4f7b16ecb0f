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

from flows.progress import progress
from flows.runtime import task_runner
from schemas.errors import VersionError
from schemas.settings import Settings
from tasks import catalog, ledger
from tasks.lake import Lake, open_lake, writing
from tasks.ledger import Row
from tasks.manifests import Manifest, manifests
from tasks.pack import Shard, pack_shard
from tasks.versions import kept_shards, members, refuse_name, write_manifest


@flow(name="publish", flow_run_name="publish {version}", persist_result=False, validate_parameters=False)
def publish(version: str, lake: str = "lake") -> Manifest:
    """Publish what the newest run's settings answered, less the benchmark reserve; return the manifest.

    Shards of the newest version that would be packed the same today are kept; the rest is packed anew.
    """
    the_lake = open_lake(Path(lake))
    refuse_name(the_lake, version)
    with writing(the_lake):
        run = ledger.newest_run(the_lake)
        if run is None:
            raise VersionError(f"lake {lake}: nothing was built yet; run `omnirefiner build PHOTOS` first")
        if not ledger.is_finished(the_lake, run["run_id"]):
            raise VersionError(
                f"version '{version}': run {run['run_id']} did not finish; run its build again, then publish"
            )
        settings = Settings.model_validate_json(run["settings"])
        with catalog.plan_of_run(the_lake, run) as connection:
            samples = members(connection)
        if not samples:
            raise VersionError(
                f"version '{version}': there are no quadruplets to publish, apart from any in the benchmark reserve; "
                "`omnirefiner status` says where they stopped"
            )
        parent = next(reversed(manifests(the_lake)), None)
        kept, unpacked = kept_shards(the_lake, parent, samples, settings.shards.jpeg_quality)
        with task_runner(settings) as runner:
            packed = _pack(the_lake, settings, runner, unpacked)
        manifest = write_manifest(the_lake, version, [*kept, *packed], samples, parent, run)
        catalog.rebuild(the_lake)
    create_table_artifact(key="shards", table=manifest["shards"], description=f"Shards of version {version}")
    return manifest


def _pack(lake: Lake, settings: Settings, runner: TaskRunner[Any], samples: Sequence[Row]) -> list[Shard]:
    size = settings.shards.samples
    groups = [[row for row in samples if row["split_group"] == group] for group in ("train", "validation")]
    chunks = [group[start : start + size] for group in groups for start in range(0, len(group), size)]
    futures: list[PrefectFuture[Shard]] = [
        runner.submit(pack, {"lake": lake, "samples": quote(chunk), "jpeg_quality": settings.shards.jpeg_quality})
        for chunk in chunks
    ]
    shards = []
    with progress("pack", len(samples)) as advance:
        for future in futures:
            shards.append(future.result())
            advance(shards[-1].samples)
    return shards


@task(name="pack", cache_policy=NO_CACHE, persist_result=False)
def pack(lake: Lake, samples: Sequence[Row], jpeg_quality: int) -> Shard:
    """Pack one shard."""
    return pack_shard(lake, samples, jpeg_quality)
