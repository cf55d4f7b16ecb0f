"""What a build would do: how many items a stage, and how long, before any of it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb
from pydantic import BaseModel

from schemas.ledger import STAGES
from schemas.settings import Settings
from tasks.catalog import rows
from tasks.listing import Listed
from tasks.plan import open_items, stages_now
from tasks.serving import needed

# Where the lake has no answers yet to go by: seconds of work an item, and items for each item of the stage before.
# Measured with the embedded engines on 105 real photos of 20 products at 512 px, one core (docs/quality.md).
SECONDS = {
    "ingest": 0.05, "embed": 0.23, "resemble": 0.002, "dedup": 0.03, "block": 0.002, "pair": 0.09, "instruct": 0.26,
    "edit": 0.13, "restore": 0.02, "judge": 2.0,  # of waiting for a server: a guess
    "score": 0.8,
}  # fmt: skip
YIELD = {
    "embed": 1.0, "resemble": 1.0, "dedup": 2.0, "block": 1.0, "pair": 2.2, "instruct": 0.74, "edit": 1.8,
    "restore": 1.0, "judge": 1.0,
}  # fmt: skip

GIVES = {  # what a stage's answers became, in the current settings: (items of this stage) / (items of the one before)
    "dedup": ("likely", "known"),
    "pair": ("candidates", "images"),
    "instruct": ("pairs WHERE accepted", "pairs"),
    "edit": ("instructions", "pairs WHERE accepted"),
    "restore": ("triplets", "instructions"),
    "judge": ("restored WHERE accepted", "triplets"),
}


class Forecast(BaseModel):
    """What a stage would do: `open` items are known, `expected` ones follow from the stages before."""

    stage: str
    open: int
    expected: int
    seconds: float  # of work; divide by the workers
    gpu_hours: float  # of all GPUs that the stage's servers, or this process's editor, hold meanwhile


def forecast(connection: duckdb.DuckDBPyConnection, listed: Sequence[Listed], settings: Settings) -> list[Forecast]:
    """Return a forecast of every stage, from the plan under the settings in question."""
    rates, yields = _rates(connection), _yields(connection)
    forecasts: list[Forecast] = []
    new = 0.0
    for stage in stages_now(connection):
        known = len(open_items(connection, stage, listed))
        expected = new * yields.get(stage, 1.0)
        seconds = (known + expected) * rates[stage]
        gpu_hours = seconds / settings.run.workers / 3600 * gpus_of(stage, settings)
        forecasts.append(
            Forecast(stage=stage, open=known, expected=round(expected), seconds=seconds, gpu_hours=gpu_hours)
        )
        if stage != "dedup":  # which leads nowhere: what follows is asked of photos
            new = known + expected
    return forecasts


def gpus_of(stage: str, settings: Settings) -> int:
    """Return how many GPUs a stage holds while it runs."""
    if stage == "edit" and settings.edit.engine == "diffusers":
        return 1
    servers = needed(settings, stage)
    return 0 if servers is None else servers.serve.gpus * len(servers.endpoints)


def _rates(connection: duckdb.DuckDBPyConnection) -> Mapping[str, float]:
    """Return the seconds an item as they were measured: under the settings in question, else under any."""
    measured = {}
    for stage in STAGES:
        now = f"FILTER (fingerprint = (SELECT fingerprint FROM settings_now WHERE stage = '{stage}'))"
        sql = f"""SELECT coalesce(sum(seconds) {now} / nullif(count(DISTINCT item_id) {now}, 0),
                                  sum(seconds) / count(DISTINCT (item_id, fingerprint))) AS rate
                  FROM ledger_{stage} WHERE status = 'answered'"""
        measured[stage] = rows(connection, sql)[0]["rate"]
    return {stage: SECONDS[stage] if rate is None else rate for stage, rate in measured.items()}


def _yields(connection: duckdb.DuckDBPyConnection) -> Mapping[str, float]:
    found = dict(YIELD)
    for stage, (these, those) in GIVES.items():
        row = rows(connection, f"SELECT (SELECT count(*) FROM {these}) AS a, (SELECT count(*) FROM {those}) AS b")[0]
        if row["a"]:
            found[stage] = row["a"] / max(1, row["b"])
    return found
