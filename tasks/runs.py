"""The ledger of runs: when, with which settings and code, and what came of it. The newest run is the current one."""

import datetime
from collections.abc import Mapping, Sequence

from schemas.ids import canonical
from schemas.settings import Settings
from tasks import ledger
from tasks.code import code_version
from tasks.lake import Lake
from tasks.summary import Step


def start_run(
    lake: Lake, run_id: str, profile: str, settings: Settings, fingerprints: Mapping[str, str], photos: str
) -> None:
    """Record that a run starts; from here on its settings are the current ones."""
    row = {
        "run_id": run_id,
        "event": "started",
        "at": datetime.datetime.now(datetime.UTC),
        "photos": photos,
        "profile": profile,
        "settings": settings.model_dump_json(),
        "fingerprints": canonical(dict(fingerprints)),
        "code": code_version(),
    }
    ledger.write(lake, "runs", run_id, "started", [row])


def finish_run(lake: Lake, run_id: str, status: str, steps: Sequence[Step]) -> None:
    """Record how a run ended; a run without this was killed."""
    row = {
        "run_id": run_id,
        "event": "finished",
        "at": datetime.datetime.now(datetime.UTC),
        "status": status,
        "steps": canonical([step.model_dump() for step in steps]),
    }
    ledger.write(lake, "runs", run_id, "finished", [row])
