"""Build: from photos to quadruplets, in the four stages of the paper's method (OmniRefiner, figure 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.task_runners import TaskRunner

from flows.hold import hold
from flows.publish import publish_version
from flows.runtime import Context, step_of, task_runner, work_through
from flows.served import servers_on_demand
from schemas.settings import load_settings
from tasks import catalog, ledger
from tasks.fingerprints import fingerprints
from tasks.lake import create_lake
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


def four_stages(
    context: Context,
    plan: duckdb.DuckDBPyConnection,
    runner: TaskRunner[Any],
    prepare: Callable[[str], None],
    listed: Sequence[Listed],
    steps: list[Step],
) -> None:
    """Run intake and the four stages, each on the items that have no answer yet; append a step for each."""
    stage = partial(_stage, context, plan, runner, prepare, steps)

    # Intake: files become images by their digest, upright, in an aspect bucket, in a split group for good.
    stage("ingest", listed=listed)

    # 1. Pairs: near photos are proposed, and judged for product, style and viewpoint.
    stage("embed")
    stage("block", at_once=True)
    stage("pair")

    # 2. Instructions: fine-grained edits of the target, where the reference shows what it looked like.
    stage("instruct")

    # 3. Edits: the editor executes them; the photo before the edit is the ground truth.
    stage("edit")

    # 4. Restorations: from input, reference and ground truth, the words that lead back.
    stage("restore")

    # Where the settings name a judge, it marks what was made, and writes faulty words anew.
    if context.settings.judge.engine != "none":
        stage("judge")


def _stage(
    context: Context,
    plan: duckdb.DuckDBPyConnection,
    runner: TaskRunner[Any],
    prepare: Callable[[str], None],
    steps: list[Step],
    name: str,
    *,
    listed: Sequence[Listed] = (),
    at_once: bool = False,
) -> None:
    start = time.perf_counter()
    items = open_items(plan, name, listed)
    if items:
        prepare(name)
    tally = work_through(context, runner, name, items, at_once=at_once)
    catalog.refresh(plan, context.lake, name)
    if items and catalog.age(context.lake) > SHOWN_AFTER:
        catalog.rebuild(context.lake)  # so that questions asked meanwhile see what was done
    steps.append(step_of(name, tally, time.perf_counter() - start))


def _show(summary: Summary) -> None:
    table = [step.model_dump() for step in summary.steps]
    create_table_artifact(key="stages", table=table, description=f"Run {summary.run_id}: what each stage did")
    refused = [
        {"stage": stage, "reason": reason, "items": items}
        for stage, reasons in summary.funnel.refused.items()
        for reason, items in reasons.items()
    ]
    create_table_artifact(key="refusals", table=refused, description="What was turned down, and why")
