"""Build: from photos to quadruplets, in the four stages of the paper's method (OmniRefiner, figure 3)."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.task_runners import TaskRunner

from flows.publish import publish
from flows.runtime import Context, task_runner, work_through
from schemas.settings import load_settings
from tasks import catalog, ledger
from tasks.fingerprints import fingerprints
from tasks.lake import create_lake, writing
from tasks.listing import Listed, changes, list_photos
from tasks.plan import open_items
from tasks.runs import finish_run, start_run
from tasks.summary import Step, Summary, funnel


@flow(name="build", flow_run_name="build {photos}", persist_result=False, validate_parameters=False)
def build(
    photos: str,
    lake: str = "lake",
    profile: str = "embedded",
    assignments: Sequence[str] = (),
    limit: int | None = None,
    version: str | None = None,
) -> Summary:
    """Build quadruplets from a folder or manifest of photos into a lake, and publish them if a version is named.

    What the lake already answers under the same settings is not asked again.
    """
    settings = load_settings(profile, assignments)
    listed = list_photos(Path(photos), limit)
    the_lake = create_lake(Path(lake))
    with writing(the_lake):
        context = Context(the_lake, settings, ledger.next_run_id(the_lake), fingerprints(settings))
        start_run(context.lake, context.run_id, profile, settings, context.fingerprints, photos)
        record_listing(context, listed, complete=limit is None)
        steps: list[Step] = []
        status = "stopped"
        try:
            with task_runner(settings) as runner:
                four_stages(context, runner, listed, steps)
            status = "finished"
        finally:
            finish_run(context.lake, context.run_id, status, steps)
            catalog.rebuild(the_lake)
    with catalog.read(the_lake) as connection:
        summary = Summary(run_id=context.run_id, lake=the_lake.root, steps=steps, funnel=funnel(connection))
    _show(summary)
    if version is not None:
        publish(version, lake)
        summary.version = version
    return summary


def record_listing(context: Context, listed: Sequence[Listed], *, complete: bool) -> None:
    """Record what the folder or manifest lists now, where that differs from what it listed before."""
    with catalog.plan(context.lake, context.fingerprints, context.settings.pair) as connection:
        before = catalog.rows(connection, "SELECT listing, path, product, item_id FROM listed")
    changed = changes(listed, before, complete=complete)
    if changed:
        stamped = [{**row, "run_id": context.run_id} for row in changed]
        ledger.write(context.lake, "listed", context.run_id, "listed", stamped)


def four_stages(context: Context, runner: TaskRunner[Any], listed: Sequence[Listed], steps: list[Step]) -> None:
    """Run intake and the four stages, each on the items that have no answer yet; append a step for each."""
    stage = partial(_stage, context, runner, steps)

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


def _stage(
    context: Context,
    runner: TaskRunner[Any],
    steps: list[Step],
    name: str,
    *,
    listed: Sequence[Listed] = (),
    at_once: bool = False,
) -> None:
    start = time.perf_counter()
    with catalog.plan(context.lake, context.fingerprints, context.settings.pair) as connection:
        items = open_items(connection, name, listed)
    tally = work_through(context, runner, name, items, at_once=at_once)
    steps.append(
        Step(
            stage=name,
            items=tally.items,
            answered=tally.answered,
            refused=tally.refused,
            failed=tally.failed,
            seconds=time.perf_counter() - start,
            work_seconds=tally.seconds,
        )
    )


def _show(summary: Summary) -> None:
    table = [step.model_dump() for step in summary.steps]
    create_table_artifact(key="stages", table=table, description=f"Run {summary.run_id}: what each stage did")
    refused = [
        {"stage": stage, "reason": reason, "items": items}
        for stage, reasons in summary.funnel.refused.items()
        for reason, items in reasons.items()
    ]
    create_table_artifact(key="refusals", table=refused, description="What was turned down, and why")
