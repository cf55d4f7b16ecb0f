"""Curate: every sample is scored once, and a filter set says which of them are published."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import BaseModel

from flows.hold import hold
from flows.progress import bars
from flows.publish import newest_run
from flows.runtime import Context, step_of, task_runner, work_through
from schemas.settings import with_assignments
from tasks import catalog, filters, ledger
from tasks.curate import Effect, effect, score_table
from tasks.fingerprints import score_fingerprint
from tasks.lake import open_lake
from tasks.ledger import Row
from tasks.plan import open_items
from tasks.summary import Step

LIFT = "none"  # in the place of a filter file


class Curated(BaseModel):
    """What a curation did, and what there is now."""

    step: Step
    scores: list[Row]
    effect: Effect


@flow(name="curate", flow_run_name="curate {lake}", persist_result=False, validate_parameters=False)
def curate(lake: str = "lake", asked: str | None = None, assignments: Sequence[str] = ()) -> Curated:
    """Score what has no scores yet, then put a filter set in force: that of a file, none ("none"), or the one that is.

    `assignments` of `score` and `run` go on top of the settings that the newest run recorded. A filter set
    from a file is checked before any work, and once more on the scores before it is in force.
    """
    the_lake = open_lake(Path(lake))
    read = filters.read_filters(Path(asked)) if asked not in (None, LIFT) else None
    run = newest_run(the_lake)
    settings = with_assignments(ledger.settings_of(run), assignments, ("score", "run"))
    context = Context(the_lake, settings, run["run_id"], {"score": score_fingerprint(settings)})
    with hold(the_lake, settings.run.wait_for_lake):
        fingerprints = json.loads(run["fingerprints"]) | context.fingerprints
        with catalog.plan(the_lake, fingerprints, settings) as plan, task_runner(settings) as runner:
            catalog.lay_curation(plan, the_lake)
            catalog.keep(plan, ["reviewed"])  # every rule is asked of it
            if read is not None:
                filters.check(plan, read, f"filters {asked}")
            start = time.perf_counter()
            with bars() as bar:
                tally = work_through(context, runner, "score", iter([open_items(plan, "score")]), bar)
            step = step_of("score", tally, time.perf_counter() - start)
            if read is not None:
                catalog.refresh(plan, the_lake, "score")
                filters.check(plan, read, f"filters {asked}")
        wanted = filters.in_force(the_lake) if asked is None else read
        filters.put_in_force(the_lake, run["run_id"], context.fingerprints["score"], wanted)
        catalog.rebuild(the_lake)
    with catalog.read(the_lake) as connection:
        curated = Curated(step=step, scores=score_table(connection), effect=effect(connection, wanted))
    rules = [rule.model_dump(exclude={"examples"}) for rule in curated.effect.rules]
    create_table_artifact(key="filters", table=rules, description=f"Filter set {curated.effect.filters}: what it drops")
    return curated
