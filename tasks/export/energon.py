""".nv-meta and .tar.idx: what Megatron-Energon wants beside the shards, as its own `energon prepare` writes it.

Made from the places that were written, so that nothing is read again. The format is that of Energon 7; `.info.yaml` is
for its older versions. The samples are crude: their parts come under their own names, and a cooker of the reader's
makes of them what is trained on.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tasks.export.layout import ExportedShard
from tasks.pack import BLOCK, END, PARTS, Laid

FOLDER = ".nv-meta"
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # split -> what Energon calls it

DATASET = """\
__module__: megatron.energon
__class__: CrudeWebdataset
subflavors:
  omnirefiner: quadruplet
"""

TABLES = """
CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER
);
CREATE TABLE sample_parts (
    tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER, content_byte_size INTEGER
);
"""
INDICES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts
    (tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);
"""


@contextmanager
def index(folder: Path) -> Iterator[Callable[[int, Path, Laid], None]]:
    """Write the index of all shards; the block is given what adds one, by its number in `.info.json`."""
    (folder / FOLDER).mkdir()
    with closing(sqlite3.connect(folder / FOLDER / "index.sqlite")) as database:
        database.executescript(TABLES)

        def add(number: int, tar: Path, laid: Laid) -> None:
            starts = [row[f"{PARTS[0]}.offset"] - BLOCK for row in laid.index]  # bytes, at the first part's header
            bounds = [*starts, laid.bytes - END]
            tar.with_suffix(".tar.idx").write_bytes(struct.pack(f"<{len(bounds)}Q", *bounds))
            samples = [
                (number, row["key"], n, bounds[n], bounds[n + 1] - bounds[n]) for n, row in enumerate(laid.index)
            ]
            parts = [
                (number, n, part, row[f"{part}.offset"], row[f"{part}.size"])
                for n, row in enumerate(laid.index)
                for part in PARTS
            ]
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", samples)
            database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)
            database.commit()

        yield add
        database.executescript(INDICES)


def describe(folder: Path, shards: Sequence[ExportedShard], content: str) -> None:
    """Write what the index belongs to: the shards, their splits, and an id made of their content, 32 hex digits."""
    meta = folder / FOLDER
    info = json.dumps({"shard_counts": {shard.name: shard.samples for shard in shards}}, indent=2)
    (meta / ".info.json").write_text(info)
    (meta / ".info.yaml").write_text(info)  # all JSON is YAML
    parts = {
        SPLITS[split]: [shard.name for shard in shards if shard.split == split]
        for split in dict.fromkeys(shard.split for shard in shards)
    }
    (meta / "split.yaml").write_text(json.dumps({"split_parts": parts, "exclude": []}, indent=2) + "\n")
    (meta / "dataset.yaml").write_text(DATASET)
    (meta / "index.uuid").write_text(str(uuid.UUID(hex=content)))
