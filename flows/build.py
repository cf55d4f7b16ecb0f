"""Build: from photos to quadruplets, in the four stages of the paper's method (OmniRefiner, figure 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.task_runners import TaskRunner

from flows.hold import hold
from flows.overlap import overlap
from flows.progress import Bar, bars
from flows.publish import publish_version
from flows.runtime import Context, step_of, task_runner, work_through
from flows.served import servers_on_demand
from schemas.settings import load_settings
from tasks import catalog, ledger
from tasks.clusters import changed_clusters
from tasks.fingerprints import fingerprints
from tasks.fold import fold
from tasks.lake import create_lake
from tasks.ledger import Row
from tasks.listing import Listed, changes, list_photos
from tasks.plan import open_items
from tasks.runs import finish_run, start_run
from tasks.summary import Step, Summary, funnel

SHOWN_AFTER = 10.0  # seconds since the catalogue's last snapshot: then the end of a stage is worth a new one


@flow(name="build", flow_run_name="build {photos}", persist_result=False, validate_parameters=False)
def build(
    photos: str,
    lake: str = "lake",
    profile: str = "embedded",
    assignments: Sequence[str] = (),
    limit: int | None = None,
    version: str | None = None,
    blind: bool = False,
) -> Summary:
    """Build quadruplets from a folder or manifest of photos into a lake, and publish them if a version is named.

    What the lake already answers under the same settings is not asked again. With `blind` nothing is told of which
    photos show one product: `calibrate` then measures what is found out against it.
    """
    settings = load_settings(profile, assignments)
    listed = list_photos(Path(photos), limit, blind=blind)
    the_lake = create_lake(Path(lake))
    with hold(the_lake, settings.run.wait_for_lake):
        context = Context(the_lake, settings, ledger.next_run_id(the_lake), fingerprints(settings))
        start_run(context.lake, context.run_id, profile, settings, context.fingerprints, photos)
        if not catalog.is_readable(the_lake):
            catalog.rebuild(the_lake)  # so that questions can be asked from the start
        steps: list[Step] = []
        status = "stopped"
        try:
            with (
                catalog.plan(the_lake, context.fingerprints, settings) as plan,
                task_runner(settings) as runner,
                servers_on_demand(settings, the_lake.root / "logs") as prepare,
            ):
                record_listing(context, plan, listed, complete=limit is None)
                four_stages(context, plan, runner, prepare, listed, steps)
            fold(the_lake)
            status = "finished"
        finally:
            finish_run(context.lake, context.run_id, status, steps)
            catalog.rebuild(the_lake)
        if version is not None:
            publish_version(the_lake, version)
    with catalog.read(the_lake) as connection:
        found = funnel(connection)
    summary = Summary(run_id=context.run_id, lake=the_lake.root, steps=steps, funnel=found, version=version)
    _show(summary)
    return summary


def record_listing(
    context: Context, plan: duckdb.DuckDBPyConnection, listed: Sequence[Listed], *, complete: bool
) -> None:
    """Record what the folder or manifest lists now, where that differs from what it listed before."""
    before = catalog.rows(plan, "SELECT listing, path, product, item_id FROM listed")
    changed = changes(listed, before, complete=complete)
    if changed:
        stamped = [{**row, "run_id": context.run_id} for row in changed]
        ledger.write(context.lake, "listed", context.run_id, "listed", stamped)
        catalog.refresh(plan, context.lake, "listed")


def record_clusters(context: Context, plan: duckdb.DuckDBPyConnection) -> None:
    """Record which photos are one picture now, and which of them is kept, where that differs from what was recorded."""
    changed = changed_clusters(plan, context.settings.dedup.cap)
    if changed:
        stamp = {"fingerprint": context.fingerprints["clusters"], "run_id": context.run_id}
        ledger.write(context.lake, "clusters", context.run_id, "clusters", [{**row, **stamp} for row in changed])
        catalog.refresh(plan, context.lake, "clusters")


def four_stages(
    context: Context,
    plan: duckdb.DuckDBPyConnection,
    runner: TaskRunner[Any],
    prepare: Callable[[str], None],
    listed: Sequence[Listed],
    steps: list[Step],
) -> None:
    """Run intake and the four stages, each on the items that have no answer yet; append a step for each."""

    def stage(name: str, *, at_once: bool = False) -> None:
        with bars() as bar:
            items = open_items(plan, name, listed)
            if items:
                prepare(name)
            steps.append(_step(context, runner, name, iter([items]), bar, at_once=at_once))
        catalog.refresh(plan, context.lake, name)
        if items and catalog.age(context.lake) > SHOWN_AFTER:
            catalog.rebuild(context.lake)  # so that questions asked meanwhile see what was done

    # Intake: files become images by their digest, upright, in an aspect bucket, in a split group for good.
    stage("ingest")

    # Near-duplicates: photos that are one picture are found, and one of them is kept.
    stage("embed")
    stage("resemble", at_once=True)
    stage("dedup")
    record_clusters(context, plan)

    # Near photos are proposed as pairs, once all are there.
    stage("block", at_once=True)

    method = [
        "pair",  # 1. Pairs are judged for product, style and viewpoint.
        "instruct",  # 2. Instructions: fine-grained edits of the target, where the reference shows what it looked like.
        "edit",  # 3. The editor executes them; the photo before the edit is the ground truth.
        "restore",  # 4. Restorations: from input, reference and ground truth, the words that lead back.
        # Where the settings name a judge, it marks what was made, and writes faulty words anew.
        *(["judge"] if context.settings.judge.engine != "none" else []),
    ]
    if context.settings.run.overlap:
        steps += overlap(context, method, partial(_step, context))
    else:
        for name in method:
            stage(name)


def _step(
    context: Context,
    runner: TaskRunner[Any],
    stage: str,
    batches: Iterator[Sequence[Row]],
    bar: Bar,
    *,
    at_once: bool = False,
) -> Step:
    """Carry a stage's items through, and return what it did."""
    start = time.perf_counter()
    tally = work_through(context, runner, stage, batches, bar, at_once=at_once)
    return step_of(stage, tally, time.perf_counter() - start)


def _show(summary: Summary) -> None:
    table = [step.model_dump() for step in summary.steps]
    create_table_artifact(key="stages", table=table, description=f"Run {summary.run_id}: what each stage did")
    refused = [
        {"stage": stage, "reason": reason, "items": items}
        for stage, reasons in summary.funnel.refused.items()
        for reason, items in reasons.items()
    ]
    create_table_artifact(key="refusals", table=refused, description="What was turned down, and why")
