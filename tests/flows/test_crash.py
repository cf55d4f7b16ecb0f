"""Kill -9 of the whole process group at every kind of write and at any moment: nothing is lost, nothing twice."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.ids import stream
from tasks import catalog
from tasks.lake import open_lake
from tasks.manifests import read_manifest
from tests.flows.commands import Runner

WRITES = (  # in the order in which a first build and a publishing make them
    "lake.json",
    "ledger/runs/*-started.parquet",
    "catalog.duckdb",
    "ledger/listed/*.parquet",
    "images/*.jpg",
    "artifacts/*.webp",
    "ledger/ingest/*.parquet",
    "ledger/embed/*.parquet",
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
STAGES = ("ingest", "embed", "block", "pair", "instruct", "edit", "restore")


@pytest.fixture(scope="module")
def uninterrupted(noise: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("uninterrupted") / "lake"
    assert runner.build_and_publish(noise, lake) == 0
    return lake


def content(lake: Path) -> dict[str, object]:
    """Return all that a lake holds, times and runs apart."""
    found: dict[str, object] = {}
    with catalog.read(open_lake(lake)) as connection:
        for stage in STAGES:
            sql = f'SELECT * EXCLUDE (run_id, "at", seconds) FROM ledger_{stage} ORDER BY ALL'
            found[stage] = [repr(row) for row in catalog.rows(connection, sql)]
        for view in ("listed", "pairs", "quadruplets", "version_members"):
            names = [row["column_name"] for row in catalog.rows(connection, f"DESCRIBE {view}")]
            kept = ", ".join(f'"{name}"' for name in names if name not in ("run_id", "at", "seconds"))
            found[view] = [repr(row) for row in catalog.rows(connection, f"SELECT {kept} FROM {view} ORDER BY ALL")]
    manifest = read_manifest(open_lake(lake), "v1")
    found["version"] = {key: manifest[key] for key in ("content", "samples", "bytes", "shards", "counts", "sequence")}
    files = sorted(str(path.relative_to(lake)) for path in lake.rglob("*") if path.is_file())
    found["files"] = [name for name in files if not name.startswith("ledger/")]
    return found


def nothing_is_lost(runner: Runner, lake: Path, uninterrupted: Path) -> None:
    assert runner.run("verify", "--lake", str(lake)) == 0
    for name, value in content(uninterrupted).items():
        assert content(lake)[name] == value, name


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
        assert runner.build_and_publish(noise, lake, dies=death) == -signal.SIGKILL, death
    assert runner.build_and_publish(noise, lake) == 0
    nothing_is_lost(runner, lake, uninterrupted)


def test_killed_at_any_time(runner: Runner, noise: Path, uninterrupted: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    for number in range(20):
        moment = float(stream(0, "kill", number).uniform(0.3, 2.5))
        runner.build_and_publish(noise, lake, kill_after=moment)
        if (lake / "versions" / "v1.json").exists():
            break
    else:
        assert runner.build_and_publish(noise, lake) == 0
    assert runner.run("rebuild", "--lake", str(lake)) == 0
    nothing_is_lost(runner, lake, uninterrupted)
