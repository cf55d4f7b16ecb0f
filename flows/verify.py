"""Verify: read published versions from end to end and name whatever is not as it was published."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from flows.progress import progress
from flows.runtime import task_runner
from schemas.errors import VersionError
from schemas.settings import Settings
from tasks import catalog
from tasks.lake import Lake, open_lake
from tasks.ledger import Row
from tasks.manifests import Manifest, manifests, read_manifest
from tasks.verify import Finding, verify_deletions, verify_manifest, verify_shard


@flow(name="verify", flow_run_name="verify {version}", persist_result=False, validate_parameters=False)
def verify(version: str | None = None, lake: str = "lake") -> tuple[list[Manifest], list[Finding]]:
    """Verify one version or all; return their manifests and what is wrong with them. Each shard is read once."""
    the_lake = open_lake(Path(lake))
    versions = [read_manifest(the_lake, version)] if version else manifests(the_lake)
    if not versions:
        raise VersionError(f"lake {lake}: no version was published yet; do so with `omnirefiner publish NAME`")
    findings: list[Finding] = []
    with catalog.read(the_lake) as connection:
        for manifest in versions:
            findings += verify_manifest(manifest, connection)
    entries = [entry for manifest in versions for entry in manifest["shards"]]
    for entry in {(entry["sha256"], entry["deleted_sha256"]): entry for entry in entries}.values():
        findings += verify_deletions(the_lake, entry)
    shards = {entry["sha256"]: (entry, _pasted(manifest)) for manifest in versions for entry in manifest["shards"]}
    return versions, findings + _shards(the_lake, list(shards.values()))


def _pasted(manifest: Manifest) -> bool:
    return bool(manifest["settings"].get("edit", {}).get("paste_back", True))


def _shards(lake: Lake, shards: Sequence[tuple[Row, bool]]) -> list[Finding]:
    findings: list[Finding] = []
    with task_runner(Settings()) as runner, progress("verify", len(shards)) as advance:
        futures: list[PrefectFuture[list[Finding]]] = [
            runner.submit(check, {"lake": lake, "entry": entry, "pasted": pasted}) for entry, pasted in shards
        ]
        for future in futures:
            findings += future.result()
            advance(1)
    return findings


@task(name="verify shard", cache_policy=NO_CACHE, persist_result=False)
def check(lake: Lake, entry: Row, pasted: bool) -> list[Finding]:
    """Verify one shard."""
    return verify_shard(lake, entry, pasted=pasted)
