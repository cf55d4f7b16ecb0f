"""Photo intake on two workers: ours beside OpenCV on two processes, in one run.

Ours reads a file, decodes it in a guarded process apart, looks for damage, brings it upright and to sRGB and into its
bucket, hashes it, and writes source and photo (lossless WebP) durably. OpenCV reads, takes the digest, decodes, resizes
to 512 px and writes a JPEG: no guard, no colour profile, no fsync.

python -m benchmark.speed.intake --help
"""

import hashlib
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
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


@app.command()
def main(
    photos: Annotated[Path, typer.Option(help="A folder of JPEGs.")] = PRODUCTS,
    copies: Annotated[int, typer.Option(min=1, help="Each photo so many times, under other digests.")] = 3,
) -> None:
    """Print photos a second, by the clock and by the processors' time, start-up of the processes included."""
    one_thread_each()
    table = Table(title=f"Intake, {WORKERS} workers", title_justify="left")
    for column in ("", "photos", "a second", "ms of processor a photo", "peak MB of the largest process"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        for number, path in enumerate(sorted(photos.rglob("*.jpg"))):
            for copy in range(copies):
                (source / f"{number:04d}-{copy}.jpg").write_bytes(path.read_bytes() + bytes(copy))
        contenders: dict[str, Callable[[Path, Path], int]] = {"opencv": opencv, "ours": ours}
        for name, contender in contenders.items():
            out = Path(folder) / name
            out.mkdir()
            start, used = time.perf_counter(), _processor()
            count = contender(source, out)
            seconds = time.perf_counter() - start
            peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            table.add_row(name, str(count), f"{count / seconds:.0f}", f"{1000 * (_processor() - used) / count:.1f}",
                          f"{peak / 1000:.0f}")  # fmt: skip
    Console(width=120).print(table)


def _processor() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


if __name__ == "__main__":
    app()
