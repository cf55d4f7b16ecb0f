"""A lake is settled when a build would find nothing to do: then no server need start and no run be recorded."""

import json
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import LakeError
from schemas.settings import Settings
from tasks import catalog, ledger
from tasks.fingerprints import fingerprints
from tasks.lake import open_lake
from tasks.listing import Listed, changes
from tasks.plan import open_items, stages_now
from tasks.summary import Summary, funnel


def settled(root: Path, settings: Settings, listed: Sequence[Listed], *, complete: bool) -> Summary | None:
    """Return what there is, if the newest run finished under these settings and answered all that is listed."""
    if not (root / "lake.json").exists():
        return None
    lake = open_lake(root)
    run = ledger.newest_run(lake)
    if run is None or not catalog.is_readable(lake):
        return None
    now = fingerprints(settings)
    try:
        recorded = ledger.settings_of(run)
    except LakeError:  # other code recorded them
        return None
    # how the work is carried out changes no answer
    if json.loads(run["fingerprints"]) != now or recorded.model_copy(update={"run": settings.run}) != settings:
        return None
    with catalog.plan(lake, now, settings) as connection:
        before = catalog.rows(connection, "SELECT listing, path, product, item_id FROM listed")
        if changes(listed, before, complete=complete):
            return None
        if any(open_items(connection, stage, listed) for stage in stages_now(connection)):
            return None
    with catalog.read(lake) as connection:  # which a run that was killed at its very end has not brought up to date
        newest = catalog.rows(connection, "SELECT run_id, status FROM runs ORDER BY run_id DESC LIMIT 1")
        if newest != [{"run_id": run["run_id"], "status": "finished"}]:
            return None
        return Summary(run_id=run["run_id"], lake=lake.root, steps=[], funnel=funnel(connection))
