"""Kill -9 of the whole process group at every kind of write and at any moment: nothing is lost, nothing twice."""

import shutil
import signal
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from schemas.ids import stream
from tasks.lake import open_lake
from tasks.manifests import manifests
from tasks.verify import verify_deletions, verify_shard
from tasks.versions import is_cut_short
from tests.flows.commands import Runner, nothing_is_lost

WRITES = (  # in the order in which a first build and a publishing make them
    "lake.json",
    "ledger/runs/*-started.parquet",
    "catalog.duckdb",
    "ledger/listed/*.parquet",
    "images/*.jpg",
    "artifacts/*.webp",
    "ledger/ingest/*.parquet",
    "ledger/embed/*.parquet",
    "ledger/resemble/*.parquet",
    "ledger/dedup/*.parquet",
    "ledger/block/*.parquet",
    "ledger/pair/*.parquet",
    "ledger/instruct/*.parquet",
    "artifacts/*.png",
    "ledger/edit/*.parquet",
    "ledger/restore/*.parquet",
    "ledger/runs/*-finished.parquet",
    "shards/*.parquet",
    "shards/*.tar",
    "versions/*.json",
)


def deaths() -> Iterator[tuple[str, str]]:
    for number, pattern in enumerate(WRITES):
        if pattern.startswith(("ledger/runs", "shards", "versions")):
            yield "before", pattern
            yield "after", pattern
        else:
            yield ("before", "torn", "after")[number % 3], pattern


def test_killed_at_every_kind_of_write(runner: Runner, noise: Path, uninterrupted: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for death in deaths():
        assert runner.build_and_publish(noise, lake, fate=death) == -signal.SIGKILL, death
    assert runner.build_and_publish(noise, lake) == 0
    nothing_is_lost(runner, lake, uninterrupted)


def test_killed_at_any_time(runner: Runner, noise: Path, uninterrupted: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    assert runner.build_and_publish(noise, tmp_path / "measured" / "lake") == 0
    whole = time.monotonic() - start
    lake, deaths = tmp_path / "0" / "lake", 0
    for number in count():
        moment = max(1.0, whole * float(stream(0, "kill", number).uniform(0.05, 0.5)))
        deaths += runner.build(noise, lake, "--publish", "v1", kill_after=moment) == -signal.SIGKILL
        published = (lake / "versions" / "v1.json").exists()
        if deaths > 2 and (published or deaths == 8):
            break
        if published:  # sooner than was measured: another lake, killed sooner
            lake, deaths, whole = tmp_path / str(number + 1) / "lake", 0, whole / 2
    assert runner.build(noise, lake) == 0
    if not (lake / "versions" / "v1.json").exists() or is_cut_short(open_lake(lake), "v1"):
        assert runner.run("publish", "v1", "--lake", str(lake)) == 0
    nothing_is_lost(runner, lake, uninterrupted)


# Versions --------------------------------------------------------------------------------------------------------

LETTING_GO = (  # commands on a lake that has v1, and how each dies until it is left in peace
    (("publish", "v2"), ("after deletions/*.parquet", "before versions/v2.json", "after versions/v2.json")),
    (
        ("compact", "v2", "v3", "--below", "1"),
        ("after shards/*.parquet", "before shards/*.tar", "after versions/v3.json"),
    ),
    (("retire", "v1", "--reason", "old"), ("before versions/retired/v1.json", "after versions/retired/v1.json")),
    (("retire", "v2", "--reason", "old"), ("before catalog.duckdb",)),
    (("gc",), ("before unneeded.json", "after unneeded.json")),
    (("gc", "--delete", "--older-than", "0"), ("before shards/*.parquet", "after shards/*.tar", "after deletions/*")),
)


def with_less_to_publish(runner: Runner, noise: Path, folder: Path) -> Path:
    """Return a lake whose v1 holds more than its newest run answers."""
    photos, lake = folder / "photos", folder / "lake"
    shutil.copytree(noise, photos)
    assert runner.build_and_publish(photos, lake) == 0
    (photos / "cup" / "2.jpg").unlink()
    assert runner.build(photos, lake) == 0
    return lake


def readable(lake: Path) -> dict[str, Any]:
    """Return what there is of each version, after all of it was read."""
    the_lake, found = open_lake(lake), {}
    for manifest in manifests(the_lake):
        for entry in manifest["shards"]:
            assert verify_shard(the_lake, entry) + verify_deletions(the_lake, entry) == []
        found[manifest["name"]] = {key: manifest[key] for key in ("content", "samples", "shards", "sequence", "parent")}
    return found


def test_killed_while_publishing_compacting_retiring_and_collecting(
    runner: Runner, noise: Path, tmp_path: Path
) -> None:
    peaceful = with_less_to_publish(runner, noise, tmp_path / "peaceful")
    lake = Path(shutil.copytree(peaceful, tmp_path / "killed" / "lake"))
    for command, deaths in LETTING_GO:
        before = readable(lake)
        for death in deaths:
            moment, pattern = death.split()
            assert runner.run(*command, "--lake", str(lake), fate=(moment, pattern)) == -signal.SIGKILL, death
            now = readable(lake)
            assert all(now[name] == told for name, told in before.items() if command[:2] != ("retire", name))
        for one in (lake, peaceful):
            assert runner.run(*command, "--lake", str(one)) == 0
        assert readable(lake) == readable(peaceful)
    assert list(readable(lake)) == ["v3"]
    kept = [{path.name for path in (one / "shards").iterdir()} for one in (lake, peaceful)]
    assert kept[0] == kept[1]
    assert runner.run("verify", "--lake", str(lake)) == 0
