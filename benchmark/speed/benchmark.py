"""The whole way to a benchmark: rendered photos, triplets, a frozen version, beside the same calls in a bare loop.

Every product is another one, each photographed twice. The bare loop makes the same engine calls, encodes, digests and
fsyncs, and packs the same samples, in a plain thread pool; it is told its items and chunks beforehand. Start-up is told
apart. Memory is each process's own peak; run it at two sizes to see whether it grows.

python -m benchmark.speed.benchmark --help
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmark.speed.stand_ins import stand_in
from schemas.ledger import STAGES as ALL_STAGES
from schemas.settings import load_settings

STAGES = [stage for stage in ALL_STAGES if stage not in ("judge", "score")]  # by default a build does neither
VIEWS = 2  # photos of a product
NAME = "bench"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    products: Annotated[int, typer.Option(min=2, help="Each another one.")] = 300,
    size: Annotated[int, typer.Option(min=128, help="Pixels of a side.")] = 256,
    engines: Annotated[
        str, typer.Option(help="The 'embedded' engines, or 'stand-in' ones that answer at once.")
    ] = "embedded",
    edits: Annotated[int, typer.Option(min=1, max=8, help="Asked for each pair.")] = 3,
    folder: Annotated[Path | None, typer.Option(help="A folder that keeps all of it; else a temporary one.")] = None,
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure the way to a benchmark, then the bare loop over the same work."""
    if only and folder:
        settings = _assignments(size, edits)
        match only:
            case "render":
                found = render(folder, size, products)
            case "whole way":
                found = whole_way(folder, settings, engines)
            case _:
                found = bare_loop(folder, settings, engines)
        print(json.dumps(found))
        return
    if folder and folder.exists() and any(folder.iterdir()):
        raise typer.BadParameter(f"{folder} is not empty: what is there would not be done again; name another folder")
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as name:
        root = Path(name)
        kinds = ("render", "whole way", "bare loop")
        rendered, *both = (_measured(kind, root, size, engines, products, edits) for kind in kinds)
        runs = dict(zip(kinds[1:], both, strict=True))
        table = Table("", "start-up s", "job s", "of the bare loop", "ms a triplet", "own peak MB")
        triplets = runs["whole way"]["triplets"]
        for kind, run in runs.items():
            table.add_row(
                kind, f"{run['start-up']:.1f}", f"{run['seconds']:.1f}",
                f"{run['seconds'] / runs['bare loop']['seconds']:.3f}", f"{1000 * run['seconds'] / triplets:.1f}",
                f"{run['memory']:.0f}",
            )  # fmt: skip
        Console(width=120).print(table)
        photos, way = VIEWS * products, runs["whole way"]
        print(f"{products} products, {photos} photos of {size} px, {triplets} triplets, {way['members']} in the "
              f"benchmark; rendered in {rendered['seconds']:.0f} s")  # fmt: skip
        each = [way["lake"] / photos, way["ledger"] / photos, way["version"] / triplets]
        lake, ledger, version = (size / 1000 for size in each)
        print(f"lake {lake:.0f} kB a photo, {ledger:.1f} of them ledger and catalogue")
        print(f"benchmark {version:.0f} kB a triplet")


def render(root: Path, size: int, products: int) -> dict[str, Any]:
    """Render the photos, in a process a core: that is no part of the job."""
    begun = time.perf_counter()
    photos = root / "photos"
    photos.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_rendered, photos, size), range(products), chunksize=16))
    return {"seconds": time.perf_counter() - begun}


def _rendered(photos: Path, size: int, index: int) -> None:
    from tasks.render.photos import render_product
    from tasks.render.products import product

    list(render_product(photos, product(0, index), VIEWS, 0, size))


def whole_way(root: Path, assignments: list[str], engines: str) -> dict[str, Any]:
    """Build and freeze through the flows; also write down each stage's items and chunks, for the bare loop."""
    begun = time.perf_counter()
    import torch  # noqa: F401

    import flows.build
    from flows.benchmark import build_benchmark
    from flows.runtime import work_through
    from flows.server import server
    from tasks import ledger

    if engines == "stand-in":
        stand_in()
    first, chunks = [0.0], {stage: list[int]() for stage in STAGES}

    def noted(context: Any, runner: Any, stage: str, batches: Iterator[Sequence[Any]], bar: Any, **options: Any) -> Any:
        first[0] = first[0] or time.perf_counter()
        (items,) = batches
        (root / f"{stage}.json").write_text(json.dumps(items))
        return work_through(context, runner, stage, iter([items]), bar, **options)

    def counted(lake: Any, stage: str, run_id: str, fingerprint: str, rows: Sequence[Any], seconds: float) -> None:
        chunks[stage].append(len({row["item_id"] for row in rows}))
        append(lake, stage, run_id, fingerprint, rows, seconds)

    append = ledger.append
    vars(ledger)["append"] = counted
    vars(flows.build)["work_through"] = noted
    lake = root / "lake"
    with server():
        flows.build.build(str(root / "photos"), str(lake), assignments=assignments)
        candidates, rules = _rules(lake)
        manifest = build_benchmark(NAME, candidates, str(lake), rules, partial=True)
    seconds = time.perf_counter() - first[0]
    (root / "chunks.json").write_text(json.dumps(chunks))
    return {
        "start-up": first[0] - begun,
        "seconds": seconds,
        "triplets": len(json.loads((root / "restore.json").read_text())),
        "members": manifest["samples"],
        "version": manifest["bytes"],
        "lake": _bytes(lake),
        "ledger": _bytes(lake / "ledger") + (lake / "catalog.duckdb").stat().st_size,
        "memory": _memory(),
    }


def bare_loop(root: Path, assignments: list[str], engines: str) -> dict[str, Any]:
    """Do the same work without Prefect, plan, choice and catalogue."""
    begun = time.perf_counter()
    import torch  # noqa: F401

    from flows.runtime import Context, answers
    from tasks import catalog, ledger
    from tasks.engines.load import one_thread_each
    from tasks.fingerprints import fingerprints
    from tasks.lake import create_lake, open_lake
    from tasks.manifests import read_manifest
    from tasks.pack import pack_shard

    if engines == "stand-in":
        stand_in()
    settings = load_settings("embedded", assignments)
    chunks = json.loads((root / "chunks.json").read_text())
    context = Context(create_lake(root / "bare"), settings, "000001", fingerprints(settings))
    keys = read_manifest(open_lake(root / "lake"), NAME)["benchmark"]["members"]["key"]
    with catalog.read(open_lake(root / "lake")) as connection:
        known = {row["quadruplet_id"]: row for row in catalog.rows(connection, "SELECT * FROM quadruplets")}
    members = [known[key] for key in keys]
    start = time.perf_counter()
    with ThreadPoolExecutor(settings.run.workers, initializer=one_thread_each) as pool:
        for stage in STAGES:
            items = json.loads((root / f"{stage}.json").read_text())
            if stage in ("resemble", "block"):
                continue  # they ask the catalogue, of which there is none here

            def answer(chunk: list[Any], stage: str = stage) -> None:
                found = list(answers(context, stage)(chunk))
                ledger.append(context.lake, stage, context.run_id, context.fingerprints[stage], found, 0.0)

            left = iter(items)
            list(pool.map(answer, [list(islice(left, length)) for length in chunks[stage]]))
        each = settings.shards.samples
        parts = [members[number : number + each] for number in range(0, len(members), each)]
        list(pool.map(lambda part: pack_shard(context.lake, part, settings.shards.jpeg_quality), parts))
    return {"start-up": start - begun, "seconds": time.perf_counter() - start, "memory": _memory()}


def _measured(kind: str, root: Path, size: int, engines: str, products: int, edits: int) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "benchmark.speed.benchmark", "--only", kind, "--folder", str(root), "--size", str(size),
        "--engines", engines, "--products", str(products), "--edits", str(edits),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _assignments(size: int, edits: int) -> list[str]:
    reserve = ["splits.train=0", "splits.validation=0", "splits.benchmark=1"]
    return [f"intake.size={size}", "intake.min_side=64", f"instruct.edits_per_pair={edits}", *reserve]


def _rules(lake: Path) -> tuple[int, list[str]]:
    """Return how many quadruplets there are, and rules that leave none of them out."""
    from tasks import catalog
    from tasks.lake import open_lake

    with catalog.read(open_lake(lake)) as connection:
        found = catalog.rows(connection, "SELECT category, task, count(*) AS n FROM quadruplets GROUP BY ALL")
    shares = ", ".join(f'"{row["category"]}, {row["task"]}"={row["n"]}' for row in found)
    rules = [f"select.shares={{{shares}}}", "select.per_product=1000", "select.per_cluster=1000"]
    return sum(row["n"] for row in found), rules


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # kB on Linux


if __name__ == "__main__":
    app()
