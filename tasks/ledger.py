"""The ledger: append-only Parquet files of answers, refusals and failures: the truth that all else is made from."""

import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.errors import LakeError
from schemas.ids import digest
from schemas.ledger import SCHEMAS
from schemas.records import EngineFailure, Refusal
from schemas.settings import Settings
from tasks.lake import Lake, put

Row = dict[str, Any]

FOLDED = "-folded-"  # in the name of a folded file
STANDS_FOR = b"stands for"  # in a folded file's metadata: the names of the files that it was made of


def answered(item_id: str, **columns: Any) -> Row:
    """Return the row of an answer."""
    return {"item_id": item_id, "status": "answered", **columns}


def not_answered(item_id: str, outcome: Refusal | EngineFailure, **columns: Any) -> Row:
    """Return the row of a refusal, final under its fingerprint, or of a failure, which is asked again."""
    if isinstance(outcome, Refusal):
        return {
            "item_id": item_id, "status": "refused", "reason": outcome.reason, "detail": outcome.detail,
            "evidence": to_json(outcome.evidence), **columns,
        }  # fmt: skip
    return {"item_id": item_id, "status": "failed", "reason": "engine", "detail": str(outcome)[:1000], **columns}


def append(lake: Lake, stage: str, run_id: str, fingerprint: str, rows: Sequence[Row], seconds: float) -> None:
    """Write a chunk's rows as one file, at once and durably. `seconds` is the work they took, shared out evenly."""
    stamp = {"fingerprint": fingerprint, "run_id": run_id, "at": datetime.datetime.now(datetime.UTC),
             "seconds": seconds / max(1, len(rows))}  # fmt: skip
    # named by its items and what became of them: a chunk that is tried again, or on another machine, cannot answer them
    # twice, and what failed before is answered all the same
    name = digest(fingerprint, *sorted({(row["item_id"], row["status"]) for row in rows}))
    write(lake, stage, run_id, name, [{**row, **stamp} for row in rows])


def write(lake: Lake, stage: str, run_id: str, name: str, rows: Sequence[Row]) -> None:
    """Write complete rows as one file of the stage's folder, once for a run and a name."""
    _refuse_unknown_columns(stage, rows)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMAS[stage]), buffer, compression="zstd")
    put(lake, lake.root / "ledger" / stage / f"{run_id}-{name[:16]}.parquet", buffer.getvalue())


def files(lake: Lake, stage: str) -> list[Path]:
    """Return the stage's ledger files, oldest run first, without those that a folded one stands for."""
    found = all_files(lake, stage)
    folded = {name for file in found if FOLDED in file.name for name in stands_for(file)}
    return [file for file in found if file.name not in folded]


def all_files(lake: Lake, stage: str) -> list[Path]:
    """Return the stage's ledger files, oldest run first, with those that a folded one stands for (`tasks.fold`)."""
    return sorted((lake.root / "ledger" / stage).glob("[0-9]*-*.parquet"))


def stands_for(file: Path) -> list[str]:
    """Return the names of the files that were ever folded into this one; of a damaged one, none: reading it tells."""
    try:
        names: list[str] = json.loads(pq.read_metadata(file).metadata[STANDS_FOR])
    except (pa.ArrowInvalid, FileNotFoundError):
        return []
    return names


def read_all(lake: Lake, stage: str) -> list[Row]:
    """Return all rows of a small stage. Raises LakeError where a file of it cannot be read."""
    return [row for file in files(lake, stage) for row in read(lake, stage, file)]


def read(lake: Lake, stage: str, file: Path) -> list[Row]:
    """Return the rows of one of the stage's files. Raises LakeError where it cannot be read."""
    try:
        with pq.ParquetFile(file) as opened:
            found = opened.read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(lake, file, error) from None
    nothing = dict.fromkeys(SCHEMAS[stage].names)  # columns come with time: older rows have nothing in them
    return [nothing | row for row in found]


def unreadable(lake: Lake, file: Path, error: Exception) -> LakeError:
    """Return what to raise of a ledger file that cannot be read."""
    first = str(error).strip().splitlines()[0]
    return LakeError(f"lake {lake.root}: {file.relative_to(lake.root)} cannot be read ({first}); restore that file")


def damaged(lake: Lake) -> list[str]:
    """Return the names of the ledger's files that cannot be read, within the lake. Reads them all."""
    found = []
    for stage in SCHEMAS:
        for file in files(lake, stage):
            try:
                pq.read_table(file)
            except (pa.ArrowException, OSError):
                found.append(str(file.relative_to(lake.root)))
    return found


def newest_run(lake: Lake) -> Row | None:
    """Return the row of the newest run's start: its settings are the current ones."""
    for file in reversed(files(lake, "runs")):
        for row in read(lake, "runs", file):
            if row["event"] == "started":
                return row
    return None


def settings_of(run: Row) -> Settings:
    """Return the settings that a run recorded. Raises LakeError where other code recorded them."""
    try:
        return Settings.model_validate_json(run["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LakeError(
            f"run {run['run_id']}: it recorded the setting {key}, which this code does not know ({first['msg']}); "
            "update the project, or build again"
        ) from None


def is_finished(lake: Lake, run_id: str) -> bool:
    """Say whether a run came to its end."""
    own = (file for file in files(lake, "runs") if file.name.startswith(f"{run_id}-"))
    found = (row for file in own for row in read(lake, "runs", file))
    return any(row["event"] == "finished" and row["status"] == "finished" for row in found)


def next_run_id(lake: Lake) -> str:
    """Return the id of a new run: counted, since clocks jump. Only the lake's writer may ask."""
    latest = max((int(file.name.partition("-")[0]) for file in files(lake, "runs")), default=0)
    return f"{latest + 1:06d}"


def to_json(value: Mapping[str, Any]) -> str:
    """Return a mapping as JSON for a column."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=float)


def _refuse_unknown_columns(stage: str, rows: Sequence[Row]) -> None:
    # pyarrow drops keys that the schema does not name: a misspelt column would be lost in silence
    unknown = {key for row in rows for key in row} - set(SCHEMAS[stage].names)
    if unknown:
        raise KeyError(f"ledger/{stage} has no column {sorted(unknown)}")
