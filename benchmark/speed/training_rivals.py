"""How fast MosaicML streaming and litdata read the samples of a lake: run by an interpreter of their own.

    python training_rivals.py streaming|litdata LAKE WORKERS SECONDS

The samples are first written in the rival's own format, beside the lake and once. Needs torch, OpenCV, and the rival.
"""

import json
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

PICTURES = ("input.webp", "reference.jpg", "target.webp")
NAMES = {
    "input.webp": "input",
    "json": "json",
    "mask.png": "mask",
    "reference.jpg": "reference",
    "target.webp": "target",
}
BATCH, WARM = 8, 6


def stored(lake: Path) -> Iterator[dict[str, bytes]]:
    """Yield the undecoded samples of a lake's shards."""
    for shard in sorted((lake / "shards").glob("*.tar")):
        sample: dict[str, bytes] = {}
        with tarfile.open(shard) as tar:
            for member in tar:
                part = member.name.partition(".")[2]
                file = tar.extractfile(member)
                assert file is not None
                sample[NAMES[part]] = file.read()
                if len(sample) == len(NAMES):
                    yield sample
                    sample = {}


def decoded(parts: dict[str, bytes]) -> dict[str, Any]:
    """Decode a sample as the other contenders do."""
    made: dict[str, Any] = {
        name: cv2.imdecode(np.frombuffer(parts[name], np.uint8), cv2.IMREAD_COLOR_RGB)
        for name in ("input", "reference", "target")
    }
    made["mask"] = cv2.imdecode(np.frombuffer(parts["mask"], np.uint8), cv2.IMREAD_GRAYSCALE) > 0  # type: ignore[operator]
    return {**made, "json": json.loads(bytes(parts["json"]))["restore_instruction"]}


def collated(samples: list[dict[str, bytes]]) -> Any:
    """Decode samples and make a batch of them."""
    return default_collate([decoded(sample) for sample in samples])


def streaming(lake: Path, workers: int) -> Iterator[int]:
    """Read with MosaicML streaming, shuffled."""
    from streaming import MDSWriter, StreamingDataset

    folder = lake.with_name(f"{lake.name}-mds")
    if not folder.exists():
        with MDSWriter(out=str(folder), columns=dict.fromkeys(NAMES.values(), "bytes")) as writer:
            for sample in stored(lake):
                writer.write(sample)

    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    while True:
        for batch in DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collated):
            yield len(batch["json"])


def litdata(lake: Path, workers: int) -> Iterator[int]:
    """Read with litdata, shuffled."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    folder = lake.with_name(f"{lake.name}-litdata")
    if not folder.exists():
        optimize(fn=stored, inputs=[lake], output_dir=str(folder), chunk_bytes="64MB", num_workers=1)

    dataset = StreamingDataset(str(folder), shuffle=True)
    while True:
        for batch in StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=collated):
            yield len(batch["json"])


def main() -> None:
    """Print how many samples a second are read."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rival, lake, workers, seconds = sys.argv[1:]
    found = {"streaming": streaming, "litdata": litdata}[rival](Path(lake), int(workers))
    for _ in range(WARM):
        next(found)
    count, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < float(seconds):
        count += next(found)
    print(count / passed)


if __name__ == "__main__":
    main()
