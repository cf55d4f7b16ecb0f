"""A model over a benchmark: its outputs kept by digest, its figures beside them; a run that stops goes on where it was.

    RUN/run.json                     what was run on what, and how; which metrics are not computed
    RUN/outputs/<ab>/<sha256>.webp   what the model made, without loss
    RUN/answers/<name>.parquet       of a chunk: keys, digests of outputs, seconds, why there is none
    RUN/figures/<digest>/<name>.parquet   its metrics, under the formulas and weights of that digest

Files are written beside their place and renamed. Several processes share a run, each with a rank: a process asks every
`world`-th sample.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.cases import Case, Frozen
from benchmark.metrics import METRICS, identity, measure, not_computed
from benchmark.models import Model
from schemas.benchmark import Weights
from schemas.errors import BenchmarkError
from schemas.ids import digest, sha256
from schemas.records import EngineFailure, Pixels, Refusal
from tasks.code import code_version
from tasks.codecs import decode, encode_webp
from tasks.ledger import Row

RUN = "run.json"
CHUNK = 16  # samples whose rows are written at once
FAILURES = 20  # in a row: then the run stops
ANSWERS = pa.schema([
    ("key", pa.string()), ("sha256", pa.string()), ("refused", pa.string()), ("seconds", pa.float64()),
])  # fmt: skip
FIGURES = pa.schema([("key", pa.string()), ("sha256", pa.string()), *((name, pa.float64()) for name in METRICS)])


@dataclass(frozen=True)
class Done:
    """What became of a run: samples in all, answered, refused; failed ones are asked again."""

    samples: int
    answered: int
    refused: int
    failed: int
    last_failure: str = ""


def run(
    frozen: Frozen,
    model: Model,
    folder: Path,
    weights: Weights,
    *,
    rank: int = 0,
    world: int = 1,
    limit: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Done:
    """Ask a model every sample of a rank that it has not answered yet, and measure what is not measured yet.

    What a model refuses is measured as if it had left the draft as it is. `limit` takes the first samples only.
    Raises BenchmarkError where the folder holds another run, or too many failures come in a row.
    """
    figures = identity(weights)
    begin(folder, frozen, model, weights, figures)
    keys = frozen.keys[:limit][rank::world]
    answered = answers(folder)
    measured = {
        row["key"] for row in figures_of(folder, figures) if answered.get(row["key"], {}).get("sha256") == row["sha256"]
    }
    failed = in_a_row = 0
    said = ""
    for chunk in _chunks(keys, max(CHUNK, model.at_once)):
        open_keys = [key for key in chunk if key not in answered]
        unmeasured = [key for key in chunk if key not in measured]
        if not open_keys and not unmeasured:
            advance(len(chunk))
            continue
        cases = {key: frozen.case(key) for key in chunk if key in open_keys or key in unmeasured}
        rows, outputs = [], dict[str, Pixels]()
        for some in _chunks(open_keys, model.at_once):
            begun = time.perf_counter()
            found = model.answer([cases[key].problem for key in some])
            seconds = (time.perf_counter() - begun) / len(some)
            for key, one in zip(some, found, strict=True):
                if isinstance(one, EngineFailure):
                    failed, in_a_row, said = failed + 1, in_a_row + 1, str(one)
                    continue
                in_a_row = 0
                row, outputs[key] = _kept(folder, cases[key], one)
                rows.append(row | {"seconds": seconds})
            if in_a_row >= FAILURES:
                break
        _write(folder / "answers", rows, ANSWERS)
        answered |= {row["key"]: row for row in rows}
        told = [
            {"key": key, "sha256": answered[key]["sha256"]}
            | measure(
                cases[key], outputs[key] if key in outputs else read_output(folder, answered[key]["sha256"]), weights
            )
            for key in unmeasured
            if key in answered
        ]
        _write(folder / "figures" / figures, told, FIGURES)
        if in_a_row >= FAILURES:
            raise BenchmarkError(
                f"run {folder}: stopped after {in_a_row} failures in a row, the last: {said}; mend the model and run "
                "the same command again, nothing is lost"
            )
        advance(len(chunk))
    mine = [answered[key] for key in keys if key in answered]
    refused = sum(row["refused"] is not None for row in mine)
    return Done(len(keys), len(mine) - refused, refused, failed, said)


def begin(folder: Path, frozen: Frozen, model: Model, weights: Weights, figures: str) -> None:
    """Write down what a run is. Raises BenchmarkError where the folder holds a run of something else."""
    told = {"benchmark": frozen.name, "content": frozen.manifest["content"], "about": dict(model.about)}
    path = folder / RUN
    try:
        if path.exists():
            before = json.loads(path.read_bytes())
            changed = [name for name in told if before.get(name) != told[name]]
            if changed:
                raise BenchmarkError(
                    f"run {folder}: it was begun with another {changed[0]}; give the same again, or another --out"
                )
        elif folder.exists() and any(folder.glob("[!.]*")):  # one that was cut short has an unfinished file at most
            raise BenchmarkError(f"run {folder}: it is another folder's place, with no {RUN} in it; name another --out")
        more = {"metrics": figures, "not_computed": not_computed(weights), "code": code_version()}
        keep(path, (json.dumps({**told, **more}, indent=1, sort_keys=True) + "\n").encode())
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise BenchmarkError(f"run {folder}: {RUN}: {what}; mend that, or name another --out") from None


def told_of(folder: Path) -> dict[str, Any]:
    """Return what a run is. Raises BenchmarkError where the folder holds none."""
    try:
        told = json.loads((folder / RUN).read_bytes())
        return {name: told[name] for name in ("benchmark", "content", "about", "metrics", "not_computed", "code")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise BenchmarkError(
            f"run {folder}: {RUN}: {what}; name a folder that `omnirefiner benchmark run` wrote"
        ) from None


def answers(folder: Path) -> dict[str, Row]:
    """Return what was answered so far, by key."""
    return {row["key"]: row for row in _read(folder / "answers", ANSWERS)}


def figures_of(folder: Path, figures: str) -> list[Row]:
    """Return the metrics of all that was measured so far under the formulas and weights of a digest, each key once."""
    return list({row["key"]: row for row in _read(folder / "figures" / figures, FIGURES)}.values())


def read_output(folder: Path, name: str) -> Pixels:
    """Return an output (H, W, 3) by its digest. Raises BenchmarkError where it is missing or damaged."""
    path = folder / "outputs" / name[:2] / f"{name}.webp"
    try:
        data = path.read_bytes()
        if sha256(data) != name:
            raise ValueError("its digest is not its name")
        return decode(data, ("WEBP",))
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise BenchmarkError(
            f"run {folder}: {path.relative_to(folder)}: {what}; delete the run and run it anew"
        ) from None


def keep(path: Path, data: bytes) -> None:
    """Write a file durably beside its place, then rename it: it is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _kept(folder: Path, case: Case, answer: Pixels | Refusal) -> tuple[Row, Pixels]:
    """Keep an output by its digest; return its row, and what is measured of it."""
    problem = case.problem
    refused = None
    if isinstance(answer, Refusal):
        refused, answer = f"{answer.reason}: {answer.detail}"[:1000], problem.input
    elif answer.shape != problem.input.shape or answer.dtype != np.uint8:
        refused, answer = f"wrong-size: it is {answer.dtype} {answer.shape}"[:1000], problem.input
    data = encode_webp(answer)
    name = sha256(data)
    path = folder / "outputs" / name[:2] / f"{name}.webp"
    if not path.exists():
        keep(path, data)
    return {"key": problem.key, "sha256": name, "refused": refused}, answer


def _write(folder: Path, rows: Sequence[Row], schema: pa.Schema) -> None:
    if rows:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
        keep(folder / f"{digest(*sorted(row['key'] for row in rows))}.parquet", buffer.getvalue())


def _read(folder: Path, schema: pa.Schema) -> Iterator[Row]:
    for path in sorted(folder.glob("[!.]*.parquet")):
        try:
            table = pq.read_table(path, use_threads=False)
            if not table.schema.equals(schema):
                raise ValueError("its columns are others")
        except (OSError, ValueError, pa.ArrowException) as error:
            what = " ".join(str(error).split())[:200]
            raise BenchmarkError(
                f"run {folder.parent}: {path.name}: {what}; delete that file and run it again"
            ) from None
        yield from table.to_pylist()


def _chunks(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
