"""What the orchestration costs: a build through Prefect, ledger and catalogue beside a bare loop over the same work.

The bare loop makes the same engine calls, encodes, digests and fsyncs in a plain thread pool with as many workers, and
is told its items and chunks beforehand. Start-up (imports, Prefect's server, the flow run's registration) and end
(interpreter and server ending, the interpreter's own start among it) are told apart. Each run is a process of its own.

python -m benchmark.speed.orchestration --help
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.console import Console
from rich.table import Table

from benchmark.speed.stand_ins import stand_in
from schemas.ids import stream
from schemas.ledger import STAGES as ALL_STAGES
from schemas.settings import load_settings
from tasks.codecs import encode_jpeg

STAGES = [stage for stage in ALL_STAGES if stage not in ("judge", "score")]  # by default a build does neither
PHOTOS_EACH = 8  # of a product: 28 pairs, and three edits of each

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    quadruplets: Annotated[int, typer.Option(min=84, help="How many, about.")] = 2000,
    size: Annotated[int, typer.Option(help="Pixels of a side.")] = 512,
    photos: Annotated[
        Path | None, typer.Option(help="Real photos, one folder a product, instead of made-up ones.")
    ] = None,
    engines: Annotated[
        str, typer.Option(help="'stand-in' engines answer at once; or the 'embedded' ones.")
    ] = "stand-in",
    repetitions: Annotated[int, typer.Option(min=1)] = 3,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure the orchestration of a build beside the bare loop, in one run, alternating."""
    if only and folder and photos:
        print(json.dumps((build if only == "build" else bare_loop)(photos, folder, size, engines)))
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if photos is None:
            photos = root / "photos"
            make_photos(photos, products=round(quadruplets / 84), size=size)
        found: dict[str, list[dict[str, Any]]] = {"build": [], "bare loop": []}
        for number in range(repetitions):
            lake = root / str(number)
            for kind, runs in found.items():
                runs.append(_measured(kind, photos, lake, size, engines))
        show(found)


def make_photos(folder: Path, products: int, size: int) -> None:
    """Write JPEGs of soft noise, which compresses about as photos do."""
    for product in range(products):
        (folder / f"product {product:04d}").mkdir(parents=True)
        for number in range(PHOTOS_EACH):
            random = stream(0, product, number)
            coarse = cv2.resize(random.integers(0, 256, (12, 12, 3)).astype("float32"), (size, size))
            pixels = coarse + random.normal(0, 4, (size, size, 3))
            data = encode_jpeg(pixels.clip(0, 255).astype("uint8"), 92)
            (folder / f"product {product:04d}" / f"{number}.jpg").write_bytes(data)


def build(photos: Path, folder: Path, size: int, engines: str) -> dict[str, Any]:
    """Build once through the flow; also write down each stage's items, for the bare loop."""
    begun = time.perf_counter()
    import torch  # noqa: F401

    import flows.build
    from flows.runtime import work_through
    from flows.server import server
    from tasks import ledger

    if engines == "stand-in":
        stand_in()
    first = [0.0]
    chunks: dict[str, list[int]] = {stage: [] for stage in STAGES}

    def noted(context: Any, runner: Any, stage: str, batches: Iterator[Sequence[Any]], bar: Any, **options: Any) -> Any:
        first[0] = first[0] or time.perf_counter()
        (items,) = batches
        (folder / f"{stage}.json").write_text(json.dumps(items))
        return work_through(context, runner, stage, iter([items]), bar, **options)

    def counted(lake: Any, stage: str, run_id: str, fingerprint: str, rows: Sequence[Any], seconds: float) -> None:
        chunks[stage].append(len({row["item_id"] for row in rows}))
        append(lake, stage, run_id, fingerprint, rows, seconds)

    append = ledger.append
    vars(ledger)["append"] = counted
    vars(flows.build)["work_through"] = noted
    folder.mkdir()
    with server():
        flows.build.build(str(photos), str(folder / "lake"), assignments=_assignments(size))
    ended = time.perf_counter()
    (folder / "chunks.json").write_text(json.dumps(chunks))
    return {"start-up": first[0] - begun, "seconds": ended - first[0], "items": _counts(folder), "memory": _memory()}


def bare_loop(photos: Path, folder: Path, size: int, engines: str) -> dict[str, Any]:
    """Do the same work without Prefect, plan and catalogue."""
    begun = time.perf_counter()
    import torch  # noqa: F401

    from flows.runtime import Context, answers
    from tasks import ledger
    from tasks.engines.load import one_thread_each
    from tasks.fingerprints import fingerprints
    from tasks.lake import create_lake

    if engines == "stand-in":
        stand_in()
    settings = load_settings("embedded", _assignments(size))
    chunks = json.loads((folder / "chunks.json").read_text())
    context = Context(create_lake(folder / "bare"), settings, "000001", fingerprints(settings))
    start = time.perf_counter()
    with ThreadPoolExecutor(settings.run.workers, initializer=one_thread_each) as pool:
        for stage in STAGES:
            items = json.loads((folder / f"{stage}.json").read_text())
            if stage in ("resemble", "block"):
                continue  # they ask the catalogue, of which there is none here

            def answer(chunk: list[Any], stage: str = stage) -> None:
                found = list(answers(context, stage)(chunk))
                ledger.append(context.lake, stage, context.run_id, context.fingerprints[stage], found, 0.0)

            left = iter(items)
            list(pool.map(answer, [list(islice(left, length)) for length in chunks[stage]]))
    seconds = time.perf_counter() - start
    return {"start-up": start - begun, "seconds": seconds, "items": _counts(folder), "memory": _memory()}


def show(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print what was found, medians and ranges."""
    names = ("", "start-up s", "job s", "range", "end s", "ms an item", "own peak MB", "of the bare loop")
    table = Table(*names)
    bare = statistics.median(run["seconds"] for run in found["bare loop"])
    for kind, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        job, items = statistics.median(seconds), sum(runs[0]["items"].values())
        before, after = (statistics.median(run[part] for run in runs) for part in ("start-up", "end"))
        table.add_row(
            kind, f"{before:.1f}", f"{job:.1f}", f"{min(seconds):.1f}-{max(seconds):.1f}", f"{after:.1f}",
            f"{1000 * job / items:.2f}", f"{max(run['memory'] for run in runs):.0f}", f"{job / bare:.3f}",
        )  # fmt: skip
    Console(width=120).print(table)
    items = found["build"][0]["items"]
    over = statistics.median(run["seconds"] for run in found["build"]) - bare
    print(f"{items['restore']} quadruplets, {sum(items.values())} items; "
          f"orchestration {1000 * over / sum(items.values()):.2f} ms an item")  # fmt: skip


def _measured(kind: str, photos: Path, folder: Path, size: int, engines: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmark.speed.orchestration", "--only", kind, "--photos", str(photos),
               "--folder", str(folder), "--size", str(size), "--engines", engines]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    measured["end"] = time.perf_counter() - begun - measured["start-up"] - measured["seconds"]
    return measured


def _assignments(size: int) -> list[str]:
    return [f"intake.size={size}", "intake.min_side=64", f"pair.siblings={PHOTOS_EACH}"]


def _counts(folder: Path) -> dict[str, int]:
    return {stage: len(json.loads((folder / f"{stage}.json").read_text())) for stage in STAGES}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # kB on Linux


if __name__ == "__main__":
    app()
