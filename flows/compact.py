"""Compact: the next version of the same samples, in fewer and fuller shards."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import quote

from flows.hold import hold
from flows.progress import progress
from flows.publish import newest_run, settings_of
from flows.runtime import task_runner
from schemas.errors import VersionError
from tasks import catalog
from tasks.compact import Chunk, compaction, repack
from tasks.lake import Lake, open_lake
from tasks.leakage import refuse_unknown
from tasks.manifests import Manifest, read_manifest
from tasks.pack import Shard
from tasks.versions import is_cut_short, refuse_name, refuse_withdrawn, write_compacted


@flow(name="compact", flow_run_name="compact {version}", persist_result=False, validate_parameters=False)
def compact(
    version: str, new: str, below: float = 0.9, lake: str = "lake", assignments: Sequence[str] = ()
) -> Manifest:
    """Publish the samples of a version as a new one, those of shards that are not full enough packed together."""
    the_lake = open_lake(Path(lake))
    run = newest_run(the_lake)
    settings = settings_of(run, assignments)
    with hold(the_lake, settings.run.wait_for_lake):
        refuse_name(the_lake, new)
        if is_cut_short(the_lake, new):
            catalog.rebuild(the_lake)
            return read_manifest(the_lake, new)
        manifest = read_manifest(the_lake, version)
        with catalog.plan_of_run(the_lake, run) as connection:
            refuse_unknown(connection, the_lake)
            gone = refuse_withdrawn(the_lake, connection, manifest)
        stay, chunks = compaction(the_lake, manifest, below, settings.shards.samples, gone)
        if not chunks:
            raise VersionError(
                f"version '{version}': no shard of it is less than {below:.0%} full; it needs no compaction"
            )
        shards: list[Shard] = []
        with task_runner(settings) as runner, progress("compact", len(chunks)) as advance:
            futures: list[PrefectFuture[Shard]] = [
                runner.submit(fill, {"lake": the_lake, "chunk": quote(chunk)}) for chunk in chunks
            ]
            for future in futures:
                shards.append(future.result())
                advance(1)
        compacted = write_compacted(the_lake, new, manifest, [*stay, *shards])
        catalog.rebuild(the_lake)
    return compacted


@task(name="fill", cache_policy=NO_CACHE, persist_result=False)
def fill(lake: Lake, chunk: Chunk) -> Shard:
    """Fill one shard."""
    return repack(lake, chunk)
