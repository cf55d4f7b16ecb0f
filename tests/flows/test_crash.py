"""Kill -9 of the whole process group at every kind of write and at any moment: nothing is lost, nothing twice."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

from schemas.ids import stream
from tasks.lake import open_lake
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
    lake, deaths = tmp_path / "lake", 0
    for number in range(8):
        moment = whole * float(stream(0, "kill", number).uniform(0.05, 0.5))
        deaths += runner.build(noise, lake, "--publish", "v1", kill_after=moment) == -signal.SIGKILL
        if (lake / "versions" / "v1.json").exists():
            break
    assert deaths > 2
    assert runner.build(noise, lake) == 0
    if not (lake / "versions" / "v1.json").exists() or is_cut_short(open_lake(lake), "v1"):
        assert runner.run("publish", "v1", "--lake", str(lake)) == 0
    nothing_is_lost(runner, lake, uninterrupted)
