"""Shard writing: ours beside the alternatives, and beside what the disk and SHA-256 alone can do, all in one run.

Samples of the shipped parts are made once and held in memory: encoding is no part of what is timed. The contenders take
turns, since a disk's speed drifts, each in a process of its own, so that its peak of memory is its own. Linux only.
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from schemas.ids import canonical, sha256, stream
from schemas.settings import Shards
from tasks.codecs import encode_jpeg, encode_mask, encode_webp
from tasks.lake import create_lake
from tasks.pack import INDEX, PARTS, Part, Sample, write_shard

Parts = tuple[bytes, ...]  # of one sample, as PARTS
Keyed = tuple[str, Parts]

SIDE = 512  # px
DISTINCT = (
    64  # samples in memory: 45 MB, more than a core's cache holds; they are written again and again, with new keys
)
PER_SHARD = Shards().samples
MB = 1_000_000


def make_parts(number: int) -> Parts:
    """Return the parts of a made-up sample, as large as those of a photo of SIDE x SIDE px."""
    random = stream(0, "speed", number)
    smooth = cv2.resize(random.uniform(0, 255, (8, 8, 3)).astype(np.float32), (SIDE, SIDE))
    target = np.clip(smooth + random.normal(0, 2, (SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[100:180, 200:300] = True
    input = np.where(mask[..., None], 255 - target, target)
    about = canonical({"region": [[0.2, 0.4], [0.4, 0.4], [0.4, 0.6]], "edit_instruction": "garble the word " * 40})
    return (encode_webp(input), about.encode(), encode_mask(mask), encode_jpeg(target, 95), encode_webp(target))


# Contenders: each writes one shard of samples into an empty folder ---------------------------------------------------


def raw_file(folder: Path, samples: Iterator[Keyed]) -> None:
    """Write the bare bytes: what the disk allows."""
    with (folder / "shard").open("xb") as file:
        for _, parts in samples:
            file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def sha256_alone(_folder: Path, samples: Iterator[Keyed]) -> None:
    """Hash the bytes once: what a shard's digest allows, since it is taken in order."""
    hasher = hashlib.sha256()
    for _, parts in samples:
        for data in parts:
            hasher.update(data)


def webdataset_writer(folder: Path, samples: Iterator[Keyed]) -> None:
    """Write with webdataset's TarWriter, and fsync: no digest, no index."""
    from webdataset import TarWriter

    with (folder / "shard.tar").open("xb") as file:
        with TarWriter(file, encoder=False) as writer:
            for key, parts in samples:
                writer.write({"__key__": key} | dict(zip(PARTS, parts, strict=True)))
        file.flush()
        os.fsync(file.fileno())


def tarfile_writer(folder: Path, samples: Iterator[Keyed]) -> None:
    """Write with Python's tarfile, and fsync: no digest, no index."""
    with (folder / "shard.tar").open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, parts in samples:
                for name, data in zip(PARTS, parts, strict=True):
                    tar.addfile(_member(key, name, data), io.BytesIO(data))
        file.flush()
        os.fsync(file.fileno())


class Hashed(io.FileIO):
    """A file that hashes what is written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x")
        self.hasher = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        self.hasher.update(data)
        return super().write(data)


def tarfile_same_work(folder: Path, samples: Iterator[Keyed]) -> None:
    """Do all that we do, plainly: tarfile, the digests of shard and parts, the index, fsync, the names given last."""
    index = []
    with Hashed(folder / "unfinished") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, parts in samples:
                entry: dict[str, Any] = {"key": key, "width": SIDE, "height": SIDE}
                for name, data in zip(PARTS, parts, strict=True):
                    tar.addfile(_member(key, name, data), io.BytesIO(data))
                    offset = tar.offset - len(data) - -len(data) % tarfile.BLOCKSIZE
                    entry |= {f"{name}.offset": offset, f"{name}.size": len(data), f"{name}.sha256": sha256(data)}
                index.append(entry)
        os.fsync(file.fileno())
    with (folder / "unfinished.parquet").open("xb") as rows:
        pq.write_table(pa.Table.from_pylist(index, schema=INDEX), rows, compression="zstd")
        rows.flush()
        os.fsync(rows.fileno())
    digest = file.hasher.hexdigest()
    (folder / "unfinished.parquet").rename(folder / f"{digest}.parquet")
    (folder / "unfinished").rename(folder / f"{digest}.tar")
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def ours(folder: Path, samples: Iterator[Keyed]) -> None:
    """Write as `omnirefiner publish` does."""
    lake = create_lake(folder)
    write_shard(lake, (Sample(key, SIDE, SIDE, tuple(Part(d, sha256(d)) for d in parts)) for key, parts in samples))


def _member(key: str, name: str, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{key}.{name}")
    member.size = len(data)
    return member


CONTENDERS: dict[str, Callable[[Path, Iterator[Keyed]], None]] = {
    "raw file, fsync (limit)": raw_file,
    "SHA-256 alone, one core (limit)": sha256_alone,
    "webdataset TarWriter, fsync": webdataset_writer,
    "tarfile, fsync": tarfile_writer,
    "tarfile, fsync, digests, index": tarfile_same_work,
    "omnirefiner: fsync, digests, index": ours,
}
RAW, HASH, WEBDATASET, TARFILE, SAME_WORK, OURS = CONTENDERS


# Measuring -----------------------------------------------------------------------------------------------------------

_made: list[Parts] = []  # in a contender's process: the samples, given once


def _get_ready(parts: Sequence[Parts], name: str, folder: Path) -> None:
    _made.extend(parts)
    _write(name, folder, 1)  # what is imported on first use is imported now


def _write(name: str, folder: Path, count: int) -> tuple[float, float, float]:
    """Let a contender write `count` samples into shards.

    Return the seconds, by how many MB its process grew, and the seconds of CPU that all other processes took meanwhile.
    """
    seconds = others = 0.0
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    held = _peak()
    for start in range(0, count, PER_SHARD):
        keys = range(start, min(start + PER_SHARD, count))
        with tempfile.TemporaryDirectory(dir=folder) as shard:
            if name == OURS:
                create_lake(Path(shard))  # a lake is made once, not for each shard
            os.sync()
            begin, all_cpu, own_cpu = time.perf_counter(), _cpu_seconds(), time.process_time()
            CONTENDERS[name](Path(shard), ((f"{key:032x}", _made[key % len(_made)]) for key in keys))
            seconds += time.perf_counter() - begin
            others += _cpu_seconds() - all_cpu - (time.process_time() - own_cpu)
    return seconds, _peak() - held, others


def _peak() -> float:
    """Return the most memory in MB that this process held since its peak was last cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmHWM:"))


def _cpu_seconds() -> float:
    """Return for how many seconds the machine's cores have worked, all processes together."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(samples: int, repetitions: int, folder: Path) -> dict[str, Any]:
    """Let every contender write `samples` samples, `repetitions` times in turn; return rates in MB of parts a second.

    `memory` is by how many MB the contender's process grew at its peak, beyond interpreter, packages and the samples.
    `cores_of_others` is how many cores other processes kept busy meanwhile: near 0 on a machine fit to measure on.
    """
    parts = [make_parts(number) for number in range(min(DISTINCT, samples))]
    size = sum(len(data) for number in range(samples) for data in parts[number % len(parts)])
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    memory = dict.fromkeys(CONTENDERS, 0.0)
    seconds_in_all = others_in_all = 0.0
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, context, _get_ready, (parts, name, folder)))
            for name in CONTENDERS
        }
        for turn in range(repetitions + 1):
            for name, process in processes.items():
                seconds, grown, others = process.submit(_write, name, folder, samples).result()
                memory[name] = max(memory[name], grown)
                if turn:  # the first warms up
                    rates[name].append(size / MB / seconds)
                    seconds_in_all += seconds
                    others_in_all += others
    median = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "samples": samples,
        "megabytes": size / MB,
        "repetitions": repetitions,
        "cores": os.cpu_count(),
        "cores_of_others": others_in_all / seconds_in_all,
        "contenders": {
            name: {"median": median[name], "low": min(each), "high": max(each), "memory": memory[name]}
            for name, each in rates.items()
        },
        "of_best_alternative": median[OURS] / max(median[WEBDATASET], median[TARFILE]),
        "of_same_work": median[OURS] / median[SAME_WORK],
        "of_raw_file": median[OURS] / median[RAW],
        "of_sha256": median[OURS] / median[HASH],
    }


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['samples']} samples, {result['megabytes']:.0f} MB of parts, in shards of {PER_SHARD}; "
        f"{result['repetitions']} repetitions, in turn; other processes took {result['cores_of_others']:.2f} of "
        f"{result['cores']} cores"
    )
    print("\n| what | MB/s, median | range | of the raw file | memory, MB |\n|---|---|---|---|---|")
    raw = result["contenders"][RAW]["median"]
    for name, c in result["contenders"].items():
        spread = f"{c['low']:.0f}-{c['high']:.0f}"
        print(f"| {name} | {c['median']:.0f} | {spread} | {c['median'] / raw:.2f} | {c['memory']:.1f} |")
    print(
        f"\nomnirefiner: {result['of_best_alternative']:.2f}x the best alternative that does less, "
        f"{result['of_same_work']:.2f}x tarfile doing the same work, {result['of_raw_file']:.2f} of the raw file, "
        f"{result['of_sha256']:.2f} of SHA-256 alone"
    )


def main(
    samples: Annotated[int, typer.Option(min=1, help="Samples a repetition; each has about 0.7 MB.")] = 1024,
    repetitions: Annotated[int, typer.Option(min=1, help="Counted repetitions; one more warms up.")] = 7,
    folder: Annotated[Path, typer.Option(help="Where to write: the disk that is measured. Left as it was.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Measure shard writing. Example: python -m benchmark.speed.shards --folder /mnt/lake-disk"""
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder; make it, or name another")
    needed = min(samples, PER_SHARD) * MB
    if shutil.disk_usage(folder).free < 2 * needed:
        raise typer.BadParameter(f"{folder} has less than {2 * needed // MB} MB free; name another")
    with tempfile.TemporaryDirectory(prefix="speed-shards-", dir=folder) as scratch:
        result = measure(samples, repetitions, Path(scratch))
    if as_json:
        print(json.dumps(result))
    else:
        _print(result)


if __name__ == "__main__":
    typer.run(main)
