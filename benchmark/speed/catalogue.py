"""What asking the catalogue costs: our calls beside bare DuckDB and bare Parquet, on the same quadruplets in one run.

A lake is laid of synthetic answers, its snapshot made as every build makes it, and asked through `tasks.catalog`. The
bare contenders hold the same rows and columns: a DuckDB file with an index on the id, and one Parquet file. They take
turns.

python -m benchmark.speed.catalogue --help
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from schemas.ids import canonical, stream
from schemas.ledger import SCHEMAS
from schemas.records import Category, Operation, Task
from schemas.settings import Settings
from tasks import catalog, ledger
from tasks.engines.load import one_thread_each
from tasks.lake import Lake, create_lake
from tasks.runs import finish_run, start_run

FINGERPRINTS = {stage: f"{stage}-now" for stage in ("ingest", "embed", "block", "pair", "instruct", "edit", "restore")}
PHOTOS_EACH = 30  # quadruplets a photo
ROWS_A_FILE = 250_000
COLUMNS = (  # the 21 that the bare contenders hold as well
    "quadruplet_id", "pair_id", "target_id", "reference_id", "input_sha256", "target_sha256", "mask_sha256", "task",
    "category", "edit_instruction", "restore_instruction", "mask_area", "accepted", "split_group", "fingerprint",
    "operation", "strength", "filled", "outside", "psnr", "run_id",
)  # fmt: skip
GROUPED = """SELECT category, task, count(*) AS n, avg(mask_area) AS mask, max(psnr) AS psnr
             FROM {} WHERE accepted AND psnr > 20 GROUP BY ALL ORDER BY ALL"""
LOOKED_UP = "SELECT {} FROM {} WHERE quadruplet_id = ?"
OURS, DUCKDB, PARQUET = "omnirefiner", "bare DuckDB, indexed", "bare Parquet"


def main(
    rows: Annotated[int, typer.Option(min=100, help="Quadruplets.")] = 3_000_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each question; look-ups are ten times as many.")] = 15,
    folder: Annotated[Path, typer.Option(help="Where to lay the lake (4 GB at 3 million). Left as it was.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure filter-and-group and look-up by id. Example: python -m benchmark.speed.catalogue --rows 300000."""
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder; make it, or name another")
    one_thread_each()
    with tempfile.TemporaryDirectory(prefix="speed-catalogue-", dir=folder) as scratch:
        result = measure(rows, repetitions, Path(scratch))
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)


def measure(rows: int, repetitions: int, folder: Path) -> dict[str, Any]:
    """Lay the contenders, ask them in turn, and return medians in milliseconds; what laying took in seconds."""
    lake = create_lake(folder / "lake")
    lay(lake, rows)
    laid = {"snapshot": _seconds(lambda: catalog.rebuild(lake))}
    bare, parquet = folder / "bare.duckdb", folder / "bare.parquet"
    columns = ", ".join(COLUMNS)
    with catalog.read(lake) as ours:
        table = ours.sql(f"SELECT {columns} FROM quadruplets").to_arrow_table()
    with duckdb.connect(str(bare), config={"threads": 2}) as connection:
        connection.register("incoming", table)
        laid["bare insert"] = _seconds(lambda: connection.execute("CREATE TABLE quadruplets AS FROM incoming"))
        laid["bare index"] = _seconds(lambda: connection.execute("CREATE INDEX by_id ON quadruplets (quadruplet_id)"))
    pq.write_table(table, parquet, compression="zstd")
    ids = table.column("quadruplet_id").take(stream(0, "asked").integers(0, rows, 10 * repetitions)).to_pylist()
    del table
    grouped: dict[str, list[float]] = {name: [] for name in (OURS, DUCKDB, PARQUET)}
    found: dict[str, list[float]] = {name: [] for name in grouped}
    file = f"read_parquet('{parquet}')"
    with (
        catalog.read(lake) as ours,
        duckdb.connect(str(bare), read_only=True, config={"threads": 2}) as indexed,
        duckdb.connect(config={"threads": 2}) as other,
    ):
        questions: Mapping[str, Callable[[], Any]] = {
            OURS: lambda: [tuple(row.values()) for row in catalog.ask(ours, GROUPED.format("quadruplets"))],
            DUCKDB: lambda: indexed.execute(GROUPED.format("quadruplets")).fetchall(),
            PARQUET: lambda: other.execute(GROUPED.format(file)).fetchall(),
        }
        look_ups: Mapping[str, Callable[[str], Any]] = {
            OURS: lambda key: [
                tuple(row.values()) for row in catalog.rows(ours, LOOKED_UP.format(columns, "quadruplets"), [key])
            ],
            DUCKDB: lambda key: indexed.execute(LOOKED_UP.format(columns, "quadruplets"), [key]).fetchall(),
            PARQUET: lambda key: other.execute(LOOKED_UP.format(columns, file), [key]).fetchall(),
        }
        answers = [ask() for ask in questions.values()]  # which warms up
        same = all(answer == answers[0] for answer in answers)
        for _ in range(repetitions):
            for name, ask in questions.items():
                grouped[name].append(1000 * _seconds(ask))
        for number, key in enumerate(ids):
            for name, look_up in look_ups.items():
                if name != PARQUET or number < repetitions:  # it takes as long each time
                    found[name].append(1000 * _seconds(partial(look_up, key)))
            same &= look_ups[OURS](key) == look_ups[DUCKDB](key)
    medians = {
        name: {"group": statistics.median(grouped[name]), "look_up": statistics.median(found[name])} for name in grouped
    }
    return {
        "rows": rows,
        "repetitions": repetitions,
        "same_answers": same,
        "milliseconds": medians,
        "laid_seconds": laid,
        "megabytes": {
            name: path.stat().st_size / 1e6
            for name, path in ((OURS, lake.snapshot), (DUCKDB, bare), (PARQUET, parquet))
        },
        "group_of_bare": medians[OURS]["group"] / medians[DUCKDB]["group"],
        "look_up_of_bare": medians[OURS]["look_up"] / medians[DUCKDB]["look_up"],
    }


def lay(lake: Lake, rows: int) -> None:
    """Lay a finished run of `rows` quadruplets, and of all answers before them that the catalogue goes through."""
    run_id = ledger.next_run_id(lake)
    start_run(lake, run_id, "embedded", Settings(), FINGERPRINTS, "synthetic")
    photos = max(4, rows // PHOTOS_EACH)
    images = _ids("image", np.arange(photos), 64)
    shas = _ids("photo", np.arange(photos), 64)
    _put(lake, run_id, "ingest", photos, item_id=_ids("file", np.arange(photos)), root="/photos", split_group="train",
         path=_ids("path", np.arange(photos)), image_id=images, photo_sha256=shas, width=512, height=512,
         source_width=768, source_height=768)  # fmt: skip
    listed = {"listing": "/photos", "path": _ids("path", np.arange(photos)), "item_id": _ids("file", np.arange(photos))}
    _write(lake, run_id, "listed", 0, photos, {**listed, "run_id": run_id})
    for start in range(0, rows, ROWS_A_FILE):
        _lay_quadruplets(lake, run_id, np.arange(start, min(start + ROWS_A_FILE, rows)), images, shas)
    finish_run(lake, run_id, "finished", [])


def _lay_quadruplets(lake: Lake, run_id: str, numbers: Any, images: Any, shas: Any) -> None:
    """Lay quadruplets by their numbers, and the pair, instruction and edit of each."""
    photos, count, start = len(images), len(numbers), int(numbers[0])
    targets = numbers % photos
    references = (targets + 1 + numbers // photos % (photos - 1)) % photos
    sides = {"target_id": images.take(targets), "reference_id": images.take(references)}
    pair, instruction, edit, quadruplet = (
        _ids(name, numbers) for name in ("pair", "instruction", "edit", "quadruplet")
    )
    random = stream(0, "catalogue", start)
    figures: dict[str, Any] = {name: random.random(count, np.float32) for name in ("strength", "filled", "outside")}
    figures |= {"mask_area": random.random(count, np.float32) / 10, "psnr": random.normal(24, 5, count).astype("f4")}
    kind = {
        "category": pa.array(np.array([category.value for category in Category])[numbers % len(Category)]),
        "task": pa.array(np.array([task.value for task in Task])[numbers % len(Task)]),
        "operation": pa.array(np.array([operation.value for operation in Operation])[numbers % len(Operation)]),
    }
    made = {f"{name}_sha256": _ids(name, numbers, 64) for name in ("raw", "input", "mask")}
    made["target_sha256"] = shas.take(targets)
    region = canonical({"region": [[0.2, 0.4], [0.4, 0.4], [0.4, 0.6]]})
    sentence = pa.array(
        [f"Warp detail {number} in the middle of the image, leave the rest alone." for number in numbers]
    )
    told = {
        "instruction_id": instruction,
        "edit_id": edit,
        "instruction": region,
        "sentence": sentence,
        **sides,
        **kind,
    }
    proposed = pa.StructArray.from_arrays(
        [pair, *sides.values(), pa.array(np.zeros(count, bool)), pa.array(np.full(count, 0.9, "f4"))],
        ["pair_id", "target_id", "reference_id", "known_same", "similarity"],
    )
    pairs = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype="i4")), proposed)
    scores = dict.fromkeys(("same_product", "style", "viewpoint"), 0.9)
    _put(lake, run_id, "block", count, start, item_id=_ids("block", numbers), pairs=pairs)
    _put(lake, run_id, "pair", count, start, item_id=pair, **sides, **scores)
    _put(lake, run_id, "instruct", count, start, item_id=pair, ordinal=0, **told)
    _put(lake, run_id, "edit", count, start, item_id=edit, target_id=sides["target_id"], **made, **figures)
    more = {"pair_id": pair, "reference_sha256": shas.take(references), "edit_instruction": sentence}
    _put(lake, run_id, "restore", count, start, item_id=quadruplet, **more, **told, **made, **figures)


def _ids(kind: str, numbers: Any, length: int = 32) -> Any:
    """Return hex ids of `length` that look like digests: the same for the same kind and number."""
    random = np.random.Generator(np.random.PCG64([*kind.encode(), int(numbers[0]) if len(numbers) else 0]))
    words = random.bytes(len(numbers) * length // 2)
    return pa.array([words[at : at + length // 2].hex() for at in range(0, len(words), length // 2)])


def _put(lake: Lake, run_id: str, stage: str, rows: int, number: int = 0, **columns: Any) -> None:
    stamp = {"status": "answered", "fingerprint": FINGERPRINTS[stage], "run_id": run_id, "seconds": 0.1}
    _write(lake, run_id, stage, number, rows, {**stamp, **columns})


def _write(lake: Lake, run_id: str, stage: str, number: int, rows: int, columns: Mapping[str, Any]) -> None:
    """Write a file of the ledger; what is given once goes for every row."""
    arrays = []
    for field in SCHEMAS[stage]:
        value = columns.get(field.name)
        if isinstance(value, pa.Array):
            arrays.append(value.cast(field.type))
        elif isinstance(value, np.ndarray):
            arrays.append(pa.array(value, field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(value, field.type), rows))
    path = lake.root / "ledger" / stage / f"{run_id}-{number:016d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMAS[stage]), path, compression="zstd")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _print(result: dict[str, Any]) -> None:
    print(f"{result['rows']:,} quadruplets, {len(COLUMNS)} columns; medians of {result['repetitions']} and, for "
          f"look-ups, {10 * result['repetitions']}; the same answers: {result['same_answers']}")  # fmt: skip
    print("\n| what | filter and group, ms | look-up by id, ms | MB |\n|---|---|---|---|")
    for name, told in result["milliseconds"].items():
        print(f"| {name} | {told['group']:.1f} | {told['look_up']:.2f} | {result['megabytes'][name]:.0f} |")
    laid = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result["laid_seconds"].items())
    print(
        f"\nfilter and group {result['group_of_bare']:.2f}x bare DuckDB, look-up {result['look_up_of_bare']:.2f}x; "
        f"laid: {laid}"
    )


if __name__ == "__main__":
    typer.run(main)
