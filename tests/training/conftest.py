"""Small published versions of made-up samples, whose pixels tell which sample they are of."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from schemas.ids import digest, stream
from schemas.training import Data
from tasks.codecs import encode_mask, encode_webp
from tasks.deletions import write_deletions
from tasks.lake import Lake, create_lake
from tasks.pack import Shard, pack_shard
from tasks.versions import put_manifest

Row = dict[str, Any]

SIDES = ((160, 96), (128, 128), (96, 160))  # width, height
PER_SHARD = 8
# pictures of about 128 px are what they are: with whole crops of data.size 128, no pixel is changed
PLAIN = Data(size=128, batch=6, crop="whole", reference="whole", window=16, workers=0)


def processes(count: int) -> list[str]:
    """Return the command that runs `omnirefiner` in so many processes."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return [sys.executable, *launch, "-m", "flows.cli"]


def make_row(lake: Lake, number: int, split_group: str = "train") -> Row:
    """Store the pictures of a made-up quadruplet and return its row."""
    width, height = SIDES[number % 3]
    random = stream(0, "made-up", number)
    coarse = random.uniform(0, 255, (4, 4, 3)).astype(np.float32)
    target = np.clip(cv2.resize(coarse, (width, height)) + random.normal(0, 4, (height, width, 3)), 0, 255).astype(
        "uint8"
    )
    mask = np.zeros((height, width), bool)
    left, top = (int(random.integers(4, side - 30)) for side in (width, height))
    mask[top : top + 20, left : left + 24] = number % 7 > 0  # every seventh is empty
    target_sha256 = lake.put_artifact(encode_webp(target), "webp")
    return {
        "quadruplet_id": digest("test", number),
        "split_group": split_group,
        "width": width,
        "height": height,
        "task": "ref-fix",
        "category": "text",
        "instruction": json.dumps({"region": [[0.2, 0.2], [0.5, 0.2], [0.5, 0.5]]}),
        "edit_instruction": "garble the word",
        "restore_instruction": f"make word {number} true to the reference",
        "target_id": digest("target", number),
        "reference_id": digest("reference", number),
        "target_licence": "CC0",
        "reference_licence": None,
        "input_sha256": lake.put_artifact(encode_webp(np.where(mask[..., None], 255 - target, target)), "webp"),
        "mask_sha256": lake.put_artifact(encode_mask(mask), "png"),
        "reference_sha256": target_sha256,
        "target_sha256": target_sha256,
    }


def publish(lake: Lake, name: str, shards: Sequence[Shard], deleted: Mapping[str, Sequence[str]] = {}) -> None:
    """Publish shards as a version, less what is deleted from each (keys by the shard's digest)."""
    entries = []
    for shard in shards:
        gone = deleted.get(shard.sha256, ())
        vector = write_deletions(lake, gone)
        entries.append({**vars(shard), "live": shard.samples - len(gone), "deleted_sha256": vector})
    put_manifest(lake, {
        "name": name, "kind": "training", "parent": None, "shards": entries, "preferences": [], "counts": {},
        "licences": {}, "filters": None, "run_id": "none", "settings": {}, "fingerprints": {}, "models": [],
        "prompts": None,
    })  # fmt: skip


def made(root: Path, samples: int, held_out: int = 0) -> Lake:
    """Make a lake whose version v1 has so many samples for training, and others held out, in shards of PER_SHARD."""
    lake = create_lake(root)
    rows = [make_row(lake, number) for number in range(samples)]
    tried = [make_row(lake, samples + number, "validation") for number in range(held_out)]
    shards = [
        pack_shard(lake, group[start : start + PER_SHARD], 95)
        for group in (rows, tried)
        for start in range(0, len(group), PER_SHARD)
    ]
    publish(lake, "v1", shards)
    return lake


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of 44 samples in 6 shards and 3 aspects. Not to be changed."""
    return made(tmp_path_factory.mktemp("small") / "lake", 44)


@pytest.fixture
def own(tmp_path: Path) -> Lake:
    """The same, to be harmed."""
    return made(tmp_path / "lake", 44)
