"""Benchmarks: a choice of the reserve is frozen into a version, and nothing that it shows is ever trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.utilities.annotations import quote

from benchmark.candidates import as_table, candidates
from benchmark.select import MARGINALS, Selected, Unfilled, select
from flows.hold import hold
from flows.progress import progress
from flows.publish import newest_run, pack
from flows.runtime import task_runner
from schemas.benchmark import Selection, load_benchmark
from schemas.errors import VersionError
from schemas.settings import Settings
from tasks import catalog, ledger
from tasks.lake import Lake, open_lake
from tasks.ledger import Row
from tasks.manifests import Manifest, read_manifest
from tasks.pack import Shard
from tasks.versions import is_cut_short, refuse_name, write_manifest

NAMED = 12  # shortages that a refusal names


class Short(VersionError):
    """A benchmark that cannot be filled; `unfilled` says what is missing."""

    def __init__(self, message: str, unfilled: Sequence[Unfilled]) -> None:
        super().__init__(message)
        self.unfilled = tuple(unfilled)


@flow(name="benchmark", flow_run_name="benchmark {version}", persist_result=False, validate_parameters=False)
def build_benchmark(
    version: str, size: int, lake: str = "lake", assignments: Sequence[str] = (), *, partial: bool = False
) -> Manifest:
    """Choose `size` samples of the benchmark reserve and publish them as a version of kind benchmark.

    Raises Short where a stratum, or a bin of a marginal, cannot be filled; with `partial` what there is is published.
    """
    rules, the_lake = load_benchmark(assignments).select, open_lake(Path(lake))
    with hold(the_lake, ledger.settings_of(newest_run(the_lake)).run.wait_for_lake):
        return publish_benchmark(the_lake, version, size, rules, partial=partial)


def publish_benchmark(lake: Lake, version: str, size: int, rules: Selection, *, partial: bool = False) -> Manifest:
    """Publish as the lake's writer. A version whose publishing was cut short at the very end is completed."""
    refuse_name(lake, version)
    if is_cut_short(lake, version):
        catalog.rebuild(lake)
        return read_manifest(lake, version)
    run = newest_run(lake)
    if not ledger.is_finished(lake, run["run_id"]):
        raise VersionError(f"benchmark '{version}': run {run['run_id']} did not finish; run its build again, then this")
    settings = ledger.settings_of(run)
    with catalog.plan_of_run(lake, run) as connection:
        found, left_out = candidates(connection, lake, settings.publish.licences)
    chosen = select(as_table(found), size, rules)
    if chosen.unfilled and not partial:
        raise Short(_shortage(version, size, chosen.unfilled, left_out), chosen.unfilled)
    by_id = {row["quadruplet_id"]: row for row in found}
    members = [by_id[key] for key in chosen.members["quadruplet_id"].to_pylist()]
    if not members:
        raise VersionError(f"benchmark '{version}': the reserve has no sample for it; `omnirefiner status` says why")
    shards = _packed(lake, settings, members)
    told = _told(size, rules, chosen, left_out, members)
    manifest = write_manifest(lake, version, shards, members, None, run, settings, kind="benchmark", benchmark=told)
    catalog.rebuild(lake)
    return manifest


def _packed(lake: Lake, settings: Settings, members: Sequence[Row]) -> list[Shard]:
    quality, size = settings.shards.jpeg_quality, settings.shards.samples
    shards = []
    with task_runner(settings) as runner, progress("pack", len(members)) as advance:
        futures = [
            runner.submit(
                pack, {"lake": lake, "samples": quote(members[start : start + size]), "jpeg_quality": quality}
            )
            for start in range(0, len(members), size)
        ]
        for future in futures:
            shards.append(future.result())
            advance(shards[-1].samples)
    return shards


def _told(
    size: int, rules: Selection, chosen: Selected, left_out: Mapping[str, int], members: Sequence[Row]
) -> dict[str, Any]:
    """Return what the manifest says of the choice; of its members, column by column, what their shards do not say."""
    table = chosen.members
    return {
        "size": size,
        "digest": chosen.digest,
        "rules": rules.model_dump(mode="json"),
        "unfilled": [vars(one) | {"missing": one.missing} for one in chosen.unfilled],
        "not_measured": list(chosen.skipped),
        "left_out": dict(sorted(left_out.items())),
        "members": {
            "key": [row["quadruplet_id"] for row in members],
            "category": [row["category"] for row in members],
            "task": [row["task"] for row in members],
            "group": [row["group_id"] for row in members],  # what is drawn together where chance is asked
            **{figure: [_rounded(value) for value in table[figure].to_pylist()] for figure in MARGINALS},
        },
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _shortage(version: str, size: int, unfilled: Sequence[Unfilled], left_out: Mapping[str, int]) -> str:
    said = [f"{one.what}: {one.missing} of {one.wanted} ({one.candidates} candidates)" for one in unfilled[:NAMED]]
    more = [f"and {len(unfilled) - NAMED} more"] if len(unfilled) > NAMED else []
    out = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    return (
        f"benchmark '{version}': {size} samples cannot be filled, missing are {'; '.join([*said, *more])}"
        f"{f'; left out were {out}' if out else ''}; build more of the reserve, set select.* to other "
        "rules, or take what there is with --partial"
    )
