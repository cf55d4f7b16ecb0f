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
from tasks.manifests import Manifest, names, read_manifest
from tasks.pack import PARTS
from tasks.preferences import PARTS as PREFERENCE_PARTS
from tasks.verify import Finding, verify_catalogue, verify_deletions, verify_manifest, verify_shard


@flow(name="verify", flow_run_name="verify {version}", persist_result=False, validate_parameters=False)
def verify(version: str | None = None, lake: str = "lake") -> tuple[list[Manifest], list[Finding]]:
    """Verify one version or all; return their manifests and what is wrong with them. Each shard is read once."""
    the_lake = open_lake(Path(lake))
    findings: list[Finding] = []
    versions: list[Manifest] = []
    for name in [version] if version else names(the_lake):
        try:
            versions.append(read_manifest(the_lake, name))
        except VersionError as error:
            findings.append(Finding(f"versions/{name}.json", str(error)))
    if not versions and not findings:
        raise VersionError(f"lake {lake}: no version was published yet; do so with `omnirefiner publish NAME`")
    with catalog.read(the_lake) as connection:
        findings += verify_catalogue(the_lake, connection)
        for manifest in versions:
            findings += verify_manifest(manifest, connection)
    entries = [entry for manifest in versions for entry in manifest["shards"]]
    for entry in {(entry["sha256"], entry["deleted_sha256"]): entry for entry in entries}.values():
        findings += verify_deletions(the_lake, entry)
    return versions, findings + _shards(the_lake, versions)


def _shards(lake: Lake, versions: Sequence[Manifest]) -> list[Finding]:
    questions = {
        entry["sha256"]: {"entry": entry, "pasted": _pasted(manifest), "parts": parts}
        for manifest in versions
        for kind, parts in (("shards", PARTS), ("preferences", PREFERENCE_PARTS))
        for entry in manifest[kind]
    }
    findings: list[Finding] = []
    with task_runner(Settings()) as runner, progress("verify", len(questions)) as advance:
        futures: list[PrefectFuture[list[Finding]]] = [
            runner.submit(check, {"lake": lake, **question}) for question in questions.values()
        ]
        for future in futures:
            findings += future.result()
            advance(1)
    return findings


def _pasted(manifest: Manifest) -> bool:
    return bool(manifest["settings"].get("edit", {}).get("paste_back", True))


@task(name="verify shard", cache_policy=NO_CACHE, persist_result=False)
def check(lake: Lake, entry: Row, pasted: bool, parts: Sequence[str]) -> list[Finding]:
    """Verify one shard."""
    return verify_shard(lake, entry, pasted=pasted, parts=parts)
