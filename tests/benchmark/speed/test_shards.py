"""The script runs and counts right; what it measures is no test's business."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from benchmark.speed.shards import CONTENDERS, OURS, SAME_WORK, TARFILE, WEBDATASET, make_parts
from tasks.pack import PARTS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SKIPPED: the script reads Linux's /proc")


def test_the_contenders_write_the_same_samples(tmp_path: Path) -> None:
    parts = make_parts(0)
    contents: dict[str, list[tuple[str, bytes]]] = {}
    for name in (WEBDATASET, TARFILE, SAME_WORK, OURS):
        folder = tmp_path / name.partition(" ")[0] / str(len(contents))
        folder.mkdir(parents=True)
        CONTENDERS[name](folder, iter([("a", parts), ("b", parts)]))
        (shard,) = folder.rglob("*.tar")
        with tarfile.open(shard) as tar:
            contents[name] = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    expected = [(f"{key}.{part}", data) for key in "ab" for part, data in zip(PARTS, parts, strict=True)]
    assert all(content == expected for content in contents.values())


def test_a_small_run_prints_every_contender_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmark.speed.shards"]
    options = ["--samples", "3", "--repetitions", "1", "--folder", str(tmp_path), "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["contenders"].keys() == CONTENDERS.keys()
    assert all(each["low"] == each["median"] == each["high"] > 0 for each in result["contenders"].values())
    assert result["samples"] == 3
    assert 1 < result["megabytes"] < 3
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named() -> None:
    command = [sys.executable, "-m", "benchmark.speed.shards", "--folder", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nowhere is no folder" in done.stderr
