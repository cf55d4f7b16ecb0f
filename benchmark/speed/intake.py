"""Photo intake on two workers: ours beside OpenCV on two processes, in one run.

Ours reads a file, decodes it in a guarded process apart, looks for damage, brings it upright and to sRGB and into its
bucket, hashes it, and writes source and photo (lossless WebP) durably. OpenCV reads, takes the digest, decodes, resizes
to 512 px and writes a JPEG: no guard, no colour profile, no fsync.

python -m benchmark.speed.intake --help
"""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from schemas.settings import Settings
from tasks.engines.load import one_thread_each
from tasks.ingest import ingest
from tasks.lake import create_lake
from tasks.listing import list_photos

PRODUCTS = Path(__file__).parents[3] / "shared" / "data" / "products"
WORKERS, SIDE, CHUNK = 2, 512, 16

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def ours(photos: Path, out: Path) -> int:
    """Take the photos in as a build does, without Prefect and the ledger."""
    settings, lake = Settings(), create_lake(out / "lake")
    rows = [listed.row() for listed in list_photos(photos)]
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    with ThreadPoolExecutor(WORKERS) as pool:
        answered = pool.map(lambda chunk: [row["status"] for row in ingest(lake, settings, chunk)], chunks)
        return sum(statuses.count("answered") for statuses in answered)


def opencv(photos: Path, out: Path) -> int:
    """Convert them with OpenCV."""
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(_convert, sorted(photos.rglob("*.jpg")), [out] * 10**6, chunksize=CHUNK))


def _convert(path: Path, out: Path) -> int:
    cv2.setNumThreads(1)
    data = path.read_bytes()
    name = hashlib.sha256(data).hexdigest()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    scale = SIDE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    (out / f"{name}.jpg").write_bytes(cv2.imencode(".jpg", small)[1].tobytes())
    return 1


CONTENDERS: dict[str, Callable[[Path, Path], int]] = {"opencv": opencv, "ours": ours}


@app.command()
def main(
    photos: Annotated[Path, typer.Option(help="A folder of JPEGs.")] = PRODUCTS,
    copies: Annotated[int, typer.Option(min=1, help="Each photo so many times, under other digests.")] = 3,
    only: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print photos a second, by the clock and by the processors' time, start-up of the workers included."""
    if only:
        with tempfile.TemporaryDirectory() as out:
            print(json.dumps(_measured(CONTENDERS[only], photos, Path(out))))
        return
    table = Table(title=f"Intake, {WORKERS} workers", title_justify="left")
    for column in ("", "photos", "a second", "ms of processor a photo", "peak MB, all processes"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
            for copy in range(copies):
                (Path(folder) / f"{number:04d}-{copy}.jpg").write_bytes(path.read_bytes() + bytes(copy))
        for name in CONTENDERS:
            command = [sys.executable, "-m", "benchmark.speed.intake", "--photos", folder, "--only", name]
            told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            count = told["photos"]
            table.add_row(name, str(count), f"{count / told['seconds']:.0f}",
                          f"{1000 * told['processor'] / count:.1f}", f"{told['memory'] / 1e6:.0f}")  # fmt: skip
    Console(width=120).print(table)


def _measured(contender: Callable[[Path, Path], int], photos: Path, out: Path) -> dict[str, float]:
    one_thread_each()
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.1):
            peak[0] = max(peak[0], _memory())

    watcher = threading.Thread(target=watch)
    start, used = time.perf_counter(), _processor()
    watcher.start()
    count = contender(photos, out)
    seconds, processor = time.perf_counter() - start, _processor() - used
    ended.set()
    watcher.join()
    return {"photos": count, "seconds": seconds, "processor": processor, "memory": peak[0]}


def _family() -> list[Path]:
    """Return the folders in /proc of this process and its children."""
    children = [
        pid for thread in Path("/proc/self/task").iterdir() for pid in (thread / "children").read_text().split()
    ]
    return [Path("/proc/self"), *(Path("/proc") / pid for pid in children)]


def _memory() -> int:
    """Return the bytes that this process and its children hold, what they share counted once."""
    total = 0
    for folder in _family():
        with suppress(OSError):  # it has ended
            found = re.search(r"^Pss:\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total


def _processor() -> float:
    """Return the processors' seconds of this process and its children, ended ones and those that wait for more."""
    ticks = 0
    for folder in _family():
        with suppress(OSError):
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ticks / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    app()
