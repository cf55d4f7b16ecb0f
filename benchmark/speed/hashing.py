"""Perceptual hashes of JPEG files on one core: ours, all eight forms, beside imagehash's one.

python -m benchmark.speed.hashing --help
"""

import io
import time
from pathlib import Path
from typing import Annotated

import imagehash
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from tasks.engines.load import one_thread_each
from tasks.engines.phash import hashes, reduced_jpeg

PRODUCTS = Path(__file__).parents[3] / "shared" / "data" / "products"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def by_imagehash(data: bytes) -> int:
    """Return imagehash's pHash of a file."""
    with Image.open(io.BytesIO(data)) as image:
        return int(str(imagehash.phash(image)), 16)


def ours(data: bytes) -> int:
    """Return our hash of a file; those of its other seven forms come with it."""
    grey = reduced_jpeg(data)
    assert grey is not None
    return hashes(grey)[0]


@app.command()
def main(
    photos: Annotated[Path, typer.Option(help="A folder of JPEGs.")] = PRODUCTS,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Hash files held in memory, in turns; print the rates, by the processor's clock, and how far the hashes differ."""
    one_thread_each()
    files = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    found: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        for name, contender in (("imagehash", by_imagehash), ("ours", ours)):
            start = time.process_time()
            found[name] = [contender(data) for data in files]
            seconds[name] = min(seconds.get(name, 1e9), time.process_time() - start)
    apart = [(one ^ other).bit_count() for one, other in zip(found["imagehash"], found["ours"], strict=True)]
    table = Table(title=f"{len(files)} JPEGs, one core, the best of {rounds}", title_justify="left")
    for column in ("", "a second", "of imagehash"):
        table.add_column(column, justify="right")
    for name, took in seconds.items():
        table.add_row(name, f"{len(files) / took:.0f}", f"{seconds['imagehash'] / took:.2f}")
    Console(width=120).print(table)
    within = sum(bits <= 2 for bits in apart)
    print(f"{within} of {len(apart)} hashes are within 2 bits of imagehash's, the farthest {max(apart)} bits off")


if __name__ == "__main__":
    app()
