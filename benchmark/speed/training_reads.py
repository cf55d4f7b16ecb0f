"""Training reads: our loader beside webdataset, MosaicML streaming and litdata, and what decoding allows, in one run.

The same samples of 512 px in two formats: three JPEGs (q95, 4:2:0), and the shipped one (two lossless WebP and a JPEG);
each with its mask and its text, as a sample has them. All decode with OpenCV and make batches of uint8 tensors; only
ours holds what it reads against digests. The limit decodes what lies in memory, in a loop on one core, and does nothing
else.

Contenders take turns, each in a process of its own. MosaicML streaming and litdata need an interpreter that has them:

    python -m benchmark.speed.training_reads --rivals OTHER_VENV/bin/python
"""

import io
import itertools
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from benchmark.speed.shards import MB, SIDE
from schemas.ids import canonical, sha256, stream
from schemas.training import Data
from tasks.codecs import encode_jpeg, encode_mask, encode_webp
from tasks.engines.load import one_thread_each
from tasks.lake import create_lake
from tasks.pack import PARTS, Part, Sample, Shard, write_shard
from tasks.shards import read_samples
from tasks.versions import put_manifest

FORMATS = ("three JPEGs", "shipped")
PICTURES = ("input.webp", "reference.jpg", "target.webp")
PER_SHARD, BATCH = 128, 8
WARM = 6  # batches before the clock runs
RIVALS = Path(__file__).with_name("training_rivals.py")

Counts = Iterator[int]  # how many samples each batch had


def make_parts(number: int, format: str) -> tuple[bytes, ...]:
    """Return the parts of a made-up sample, its JPEGs about as large as those of photos: 100 kB."""
    random = stream(0, "reads", number)
    smooth = cv2.resize(random.uniform(0, 255, (12, 12, 3)).astype(np.float32), (SIDE, SIDE))
    target = np.clip(smooth + random.normal(0, 6, (SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[100:180, 200:300] = True
    input = np.where(mask[..., None], 255 - target, target)
    about = canonical({"restore_instruction": "make the word true to the reference " * 4, "task": "ref-fix"}).encode()
    if format == "shipped":
        return encode_webp(input), about, encode_mask(mask), encode_jpeg(target, 95), encode_webp(target)
    return _jpeg(input), about, encode_mask(mask), _jpeg(target), _jpeg(target)


def _jpeg(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)  # 4:2:0
    return buffer.getvalue()


def make_lake(folder: Path, samples: int, format: str) -> None:
    """Make a lake with a version of so many samples."""
    lake, entries = create_lake(folder), []
    for start in range(0, samples, PER_SHARD):
        numbers = range(start, min(start + PER_SHARD, samples))
        made = (
            Sample(f"{n:032x}", SIDE, SIDE, tuple(Part(d, sha256(d)) for d in make_parts(n, format))) for n in numbers
        )
        digest, index, size = write_shard(lake, made)
        entries.append(vars(Shard(digest, index, len(numbers), len(numbers), size, "train", 95)))
    put_manifest(lake, {
        "name": "v1", "kind": "training", "parent": None, "shards": entries, "preferences": [], "counts": {},
        "licences": {}, "filters": None, "run_id": "", "settings": {}, "fingerprints": {}, "models": [],
        "prompts": None,
    })  # fmt: skip


# Contenders: each yields the number of samples of each batch, without end ---------------------------------------------


def _decoded(parts: dict[str, bytes]) -> dict[str, Any]:
    pictures = {name: cv2.imdecode(np.frombuffer(parts[name], np.uint8), cv2.IMREAD_COLOR_RGB) for name in PICTURES}
    mask = cv2.imdecode(np.frombuffer(parts["mask.png"], np.uint8), cv2.IMREAD_GRAYSCALE) > 0  # type: ignore[operator]
    return {**pictures, "mask.png": mask, "json": json.loads(parts["json"])["restore_instruction"]}


def _collated(samples: list[dict[str, bytes]]) -> Any:
    from torch.utils.data import default_collate

    return default_collate([_decoded(sample) for sample in samples])


def decoding_alone(folder: Path, _workers: int) -> Counts:
    """Decode what lies in memory: the limit of a core."""
    shard = next((folder / "shards").glob("*.tar"))
    held = [{name: part.data for name, part in sample.parts.items()} for sample in read_samples(shard)]
    for parts in itertools.cycle(held):
        _decoded(parts)
        yield 1


def webdataset_loader(folder: Path, workers: int) -> Counts:
    """Read with webdataset: shards shuffled, then a buffer of 256 samples."""
    import webdataset
    from torch.utils.data import DataLoader

    shards = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]

    dataset = webdataset.WebDataset(shards, resampled=True, handler=webdataset.reraise_exception)
    batched = dataset.shuffle(256).batched(BATCH, collation_fn=_collated)
    for batch in DataLoader(batched, batch_size=None, num_workers=workers):
        yield len(batch["json"])


def ours(folder: Path, workers: int) -> Counts:
    """Read as training does."""
    from training.dataset import batches, open_split

    data = Data(size=SIDE, batch=BATCH, crop="whole", reference="whole", workers=workers, window=256)
    for batch in batches(open_split(folder, "v1", "train"), data, 0):
        yield len(batch.keys)


Contender = tuple[Callable[[Path, int], Counts] | str, int]  # what reads (a rival by its name), with how many workers
CONTENDERS: dict[str, Contender] = {
    "decoding alone, one core (limit)": (decoding_alone, 0),
    "webdataset, one process": (webdataset_loader, 0),
    "MosaicML streaming, one process": ("streaming", 0),
    "litdata, one process": ("litdata", 0),
    "omnirefiner, one process": (ours, 0),
    "webdataset, two workers": (webdataset_loader, 2),
    "MosaicML streaming, two workers": ("streaming", 2),
    "litdata, two workers": ("litdata", 2),
    "omnirefiner, two workers": (ours, 2),
}
LIMIT, ONE, TWO = (
    "decoding alone, one core (limit)", "omnirefiner, one process", "omnirefiner, two workers",
)  # fmt: skip


# Measuring -----------------------------------------------------------------------------------------------------------

_running: list[Counts] = []  # in a contender's process


def _rate(name: str, folder: Path, seconds: float) -> float:
    """Return how many samples a second a contender reads, over so many seconds; the first call starts it."""
    if not _running:
        one_thread_each()
        read, workers = CONTENDERS[name]
        assert not isinstance(read, str)
        _running.append(read(folder, workers))
    for _ in range(WARM):
        next(_running[0])
    count, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        count += next(_running[0])
    return count / passed


def _rival_rate(python: Path, name: str, folder: Path, seconds: float) -> float:
    """Return the same of a rival, in its own interpreter."""
    rival, workers = CONTENDERS[name]
    command = [str(python), "-P", str(RIVALS), str(rival), str(folder), str(workers), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise typer.BadParameter(f"{python}: {rival}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}")
    return float(done.stdout.split()[-1])


def measure(folder: Path, seconds: float, repetitions: int, rivals: Path | None) -> dict[str, Any]:
    """Let the contenders read a lake in turn; return samples a second, and the ratios that the goals are about."""
    names = [name for name, (read, _) in CONTENDERS.items() if rivals or not isinstance(read, str)]
    rates: dict[str, list[float]] = {name: [] for name in names}
    context = multiprocessing.get_context("spawn")
    for _ in range(repetitions):
        for name in names:
            if rivals and isinstance(CONTENDERS[name][0], str):
                rates[name].append(_rival_rate(rivals, name, folder, seconds))
                continue
            with ProcessPoolExecutor(1, context) as process:
                rates[name].append(process.submit(_rate, name, folder, seconds).result())
    median = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "contenders": {name: {"median": median[name], "low": min(r), "high": max(r)} for name, r in rates.items()},
        "one_of_limit": median[ONE] / median[LIMIT],
        "two_of_limit": median[TWO] / (2 * median[LIMIT]),
        "two_of_best": median[TWO]
        / max(median[name] for name in names if name.endswith("two workers") and name != TWO),
    }


def main(
    samples: Annotated[int, typer.Option(min=BATCH, help="Distinct samples; about 0.3 or 0.7 MB each.")] = 512,
    seconds: Annotated[float, typer.Option(min=0.01, help="That each contender reads, each time.")] = 6.0,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns.")] = 3,
    folder: Annotated[Path, typer.Option(help="Where the lakes are made; left as it was.")] = Path(),
    rivals: Annotated[Path | None, typer.Option(help="Python that has MosaicML streaming and litdata.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure training reads. Example: python -m benchmark.speed.training_reads --seconds 10"""
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder; make it, or name another")
    result: dict[str, Any] = {"samples": samples, "cores": os.cpu_count(), "repetitions": repetitions, "formats": {}}
    with tempfile.TemporaryDirectory(prefix="speed-reads-", dir=folder) as scratch:
        for format in FORMATS:
            lake = Path(scratch) / format.replace(" ", "-")
            make_lake(lake, samples, format)
            size = sum(path.stat().st_size for path in (lake / "shards").glob("*.tar")) / samples / MB
            result["formats"][format] = {"megabytes": size, **measure(lake, seconds, repetitions, rivals)}
    if as_json:
        print(json.dumps(result))
        return
    for format, told in result["formats"].items():
        print(f"\n{format}: {samples} samples of {told['megabytes']:.2f} MB; {repetitions} turns of {seconds:g} s\n")
        print("| what | samples/s, median | range | of the limit |\n|---|---|---|---|")
        limit = told["contenders"][LIMIT]["median"]
        for name, c in told["contenders"].items():
            print(f"| {name} | {c['median']:.0f} | {c['low']:.0f}-{c['high']:.0f} | {c['median'] / limit:.2f} |")
        print(
            f"\nomnirefiner: one process {told['one_of_limit']:.2f} of the limit, two workers "
            f"{told['two_of_limit']:.2f} of two limits and {told['two_of_best']:.2f}x the best other"
        )


assert set(PICTURES) < set(PARTS)

if __name__ == "__main__":
    typer.run(main)
