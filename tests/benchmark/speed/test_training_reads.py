"""The script runs and counts right; what it measures is no test's business."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from benchmark.speed.training_reads import BATCH, CONTENDERS, FORMATS, decoding_alone, make_lake, ours
from tasks.lake import open_lake
from tasks.shards import read_samples


@pytest.mark.parametrize("format", FORMATS)
def test_the_lakes_that_are_read_are_sound(tmp_path: Path, format: str) -> None:
    make_lake(tmp_path / "lake", BATCH, format)
    lake = open_lake(tmp_path / "lake")
    (shard,) = (lake.root / "shards").glob("*.tar")
    assert len(list(read_samples(shard))) == BATCH
    assert list(islice(decoding_alone(lake.root, 0), 3)) == [1, 1, 1]
    assert list(islice(ours(lake.root, 0), 2)) == [BATCH, BATCH]


def test_a_small_run_prints_every_contender_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmark.speed.training_reads", "--json"]
    options = ["--samples", str(BATCH), "--repetitions", "1", "--seconds", "0.01", "--folder", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert tuple(result["formats"]) == FORMATS
    for told in result["formats"].values():
        assert set(told["contenders"]) == {name for name, (read, _) in CONTENDERS.items() if not isinstance(read, str)}
        assert all(each["median"] > 0 for each in told["contenders"].values())
    assert list(tmp_path.iterdir()) == []
