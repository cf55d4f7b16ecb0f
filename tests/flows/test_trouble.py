"""Other writers, readers, full and read-only disks, moved lakes, clocks, signals: a clear line, and nothing is lost."""

import datetime
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.build import build
from flows.publish import publish
from tasks import catalog, ledger, runs, versions
from tasks.lake import open_lake
from tasks.manifests import read_manifest
from tests.conftest import SMALL, Built
from tests.flows.commands import SETTINGS, Runner, ended, nothing_is_lost, wait_until_paused

# Other processes -------------------------------------------------------------------------------------------------


def test_questions_are_answered_while_a_first_build_runs(runner: Runner, noise: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    builder = runner.start("build", str(noise), "--lake", str(lake), *SETTINGS, fate=("pause", "ledger/pair/*"))
    wait_until_paused(builder)
    for question in (["status"], ["query", "SELECT count(*) FROM pairs"], ["status", "--json"]):
        assert runner.run(*question, "--lake", str(lake)) == 0
    assert runner.refused("why", "cup/0.jpg", "--lake", str(lake)).startswith(
        "omnirefiner: "
    )  # not in the catalogue yet
    os.killpg(builder.pid, signal.SIGCONT)
    assert ended(builder) == 0
    assert runner.run("why", "cup/0.jpg", "--lake", str(lake)) == 0


def test_a_second_writer_is_refused_or_waits(runner: Runner, noise: Path, uninterrupted: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = runner.start("build", str(noise), "--lake", str(lake), *SETTINGS, fate=("pause", "ledger/edit/*"))
    wait_until_paused(first)
    for command in (("build", str(noise), *SETTINGS), ("publish", "v1"), ("rebuild",)):
        assert f"process {first.pid} is writing to it" in runner.refused(*command, "--lake", str(lake))
    patient = ("--set", "run.wait_for_lake=60")
    second = runner.start("build", str(noise), "--lake", str(lake), *SETTINGS, *patient, "--publish", "v1")
    while "waiting for it" not in (second.said.read_text() if second.said.exists() else ""):
        assert second.is_alive()
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGCONT)
    assert (ended(first), ended(second)) == (0, 0)
    nothing_is_lost(runner, lake, uninterrupted)


def test_of_two_publishers_one_is_refused_and_a_name_is_given_once(
    runner: Runner, uninterrupted: Path, tmp_path: Path
) -> None:
    lake = Path(shutil.copytree(uninterrupted, tmp_path / "lake"))
    command = ("publish", "v2", "--lake", str(lake), "--set", "shards.jpeg_quality=90")
    first = runner.start(*command, fate=("pause", "shards/*.tar"))
    wait_until_paused(first)
    assert f"process {first.pid} is writing to it" in runner.refused(*command)
    second = runner.start(*command, "--set", "run.wait_for_lake=60")
    while "waiting for it" not in (second.said.read_text() if second.said.exists() else ""):
        assert second.is_alive()
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGCONT)
    assert ended(first) == 0
    second.join(timeout=60)
    assert second.exitcode == 2
    assert "version 'v2': the name is taken" in second.said.read_text()
    assert runner.run("verify", "--lake", str(lake)) == 0


# Disks -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own: call it with mount options, again and again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("SKIPPED: no disk can be mounted here (it takes root)")

    def remount(options: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        return folder

    yield remount
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_build_goes_on_once_there_is_room(
    runner: Runner, noise: Path, uninterrupted: Path, disk: Callable[[str], Path]
) -> None:
    lake = disk("size=4k") / "lake"
    command = ("build", str(noise), "--lake", str(lake), *SETTINGS, "--publish", "v1")
    for size in ("16k", "300k", "700k", "2m", "4m", "7m", "9m"):
        disk(f"size={size}")
        said = runner.refused(*command)
        assert "No space left" in said or "disk full" in said, (size, said)
        assert said.startswith(f"omnirefiner: lake {lake}: ")
    disk("size=100m")
    assert runner.run(*command) == 0
    nothing_is_lost(runner, lake, uninterrupted)


def test_a_full_disk_during_compaction_loses_nothing(runner: Runner, noise: Path, disk: Callable[[str], Path]) -> None:
    lake = disk("size=100m") / "lake"
    assert (
        runner.build_and_publish(
            noise,
            lake,
        )
        == 0
    )
    before = read_manifest(open_lake(lake), "v1")
    statistics = os.statvfs(lake)
    used = (statistics.f_blocks - statistics.f_bfree) * statistics.f_frsize
    disk(f"size={used + 20_000}")
    command = ("compact", "v1", "v2", "--below", "1", "--lake", str(lake), "--set", "shards.samples=1000")
    assert "No space left" in runner.refused(*command)
    assert read_manifest(open_lake(lake), "v1") == before
    disk("size=100m")
    assert runner.run(*command) == 0
    assert runner.run("verify", "--lake", str(lake)) == 0
    after = read_manifest(open_lake(lake), "v2")
    assert (after["samples"], len(after["shards"])) < (before["samples"] + 1, len(before["shards"]))


def test_a_read_only_lake_is_told_by_writers_and_answers_questions(
    runner: Runner, noise: Path, disk: Callable[[str], Path]
) -> None:
    lake = disk("size=100m") / "lake"
    assert runner.build_and_publish(noise, lake) == 0
    disk("ro")
    for question in (["status"], ["query", "SELECT 1"], ["why", "cup/0.jpg"], ["verify"]):
        assert runner.run(*question, "--lake", str(lake)) == 0
    assert runner.build(noise, lake) == 0  # there is nothing to do
    for command in (["build", str(noise), "--set", "intake.size=256"], ["publish", "v2"], ["rebuild"]):
        assert "Read-only file system" in runner.refused(*command, "--lake", str(lake))
    disk("rw")
    assert runner.run("publish", "v2", "--lake", str(lake)) == 0


def test_a_lake_that_was_moved_in_the_middle_goes_on(
    runner: Runner, noise: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    assert runner.build(noise, tmp_path / "lake", fate=("after", "ledger/edit/*")) == -signal.SIGKILL
    lake = tmp_path / "elsewhere" / "it's a lake"
    lake.parent.mkdir()
    (tmp_path / "lake").rename(lake)
    assert runner.build_and_publish(noise, lake) == 0
    nothing_is_lost(runner, lake, uninterrupted)


# Clocks and servers ----------------------------------------------------------------------------------------------


def test_a_clock_that_jumps_back_changes_nothing_but_times(copied: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(copied.lake.root)
    past = SimpleNamespace(now=lambda _zone: datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC))
    for module in (ledger, runs, versions):
        monkeypatch.setattr(module, "datetime", SimpleNamespace(datetime=past, UTC=datetime.UTC))
    changed = build(str(copied.photos), root, assignments=[*SMALL, "edit.strength=[0.9, 0.9]"])
    manifest = publish("v2", root)
    assert (manifest["parent"], manifest["sequence"]) == ("v1", 2)
    with catalog.read(open_lake(copied.lake.root)) as connection:
        (row,) = catalog.rows(connection, "SELECT max(run_id) AS newest, count(*) AS n FROM quadruplets")
        assert row["n"] == changed.funnel.quadruplets
        shown = catalog.rows(connection, "SELECT DISTINCT strength FROM quadruplets")
    assert {round(one["strength"], 6) for one in shown} == {0.9}
    assert changed.run_id == "000002" == row["newest"]


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGKILL, False)])
def test_a_signal_ends_the_command_soon_and_its_server_with_it(
    number: signal.Signals, group: bool, built: Built, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("omnirefiner"), "build", built.photos, "--lake", tmp_path / "lake"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    ingested = tmp_path / "lake" / "ledger" / "ingest"
    while not ingested.exists():
        assert process.poll() is None
        time.sleep(0.1)
    (server,) = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "flows.server"], capture_output=True, text=True, check=True
    ).stdout.split()
    (os.killpg if group else os.kill)(process.pid, number)
    start = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - start < 30  # with its server gone, Prefect's client tries again for over a minute
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert said.splitlines()[-1].startswith("omnirefiner: stopped")
        assert "Traceback" not in said
    for _ in range(100):
        if not Path(f"/proc/{server}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the server outlives the command")


# Damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(uninterrupted: Path, tmp_path: Path) -> Path:
    """A finished lake, to be damaged."""
    return Path(shutil.copytree(uninterrupted, tmp_path / "lake"))


@pytest.mark.parametrize("size", [0, 4, 50_000])
def test_a_damaged_catalogue_is_told_and_made_anew_by_the_next_build(
    size: int, runner: Runner, noise: Path, finished: Path, uninterrupted: Path
) -> None:
    snapshot = finished / "catalog.duckdb"
    snapshot.write_bytes(snapshot.read_bytes()[:size])
    for question in (["status"], ["query", "SELECT 1"], ["why", "cup/0.jpg"], ["verify"]):
        assert "omnirefiner rebuild" in runner.refused(*question, "--lake", str(finished))
    assert runner.build(noise, finished) == 0
    nothing_is_lost(runner, finished, uninterrupted)


@pytest.mark.parametrize("pattern", ["runs/*-finished.parquet", "runs/*-started.parquet", "pair/*.parquet"])
def test_a_damaged_ledger_is_told_by_the_file(pattern: str, runner: Runner, finished: Path) -> None:
    file = next((finished / "ledger").glob(pattern))
    data = file.read_bytes()
    file.write_bytes(b"PAR1" + bytes(len(data) - 8) + data[-8:])
    said = runner.refused("rebuild", "--lake", str(finished))
    assert file.name in said
    said = runner.refused("curate", "--lake", str(finished))
    assert file.name in said or "`omnirefiner rebuild` names the damaged file" in said
    said = runner.refused("publish", "v2", "--lake", str(finished))
    assert file.name in said or "`omnirefiner rebuild` names the damaged file" in said
    file.write_bytes(data)
    assert runner.run("publish", "v2", "--lake", str(finished)) == 0


def test_a_run_of_newer_code_is_told_and_a_build_goes_on(runner: Runner, noise: Path, finished: Path) -> None:
    lake = open_lake(finished)
    run = ledger.newest_run(lake)
    assert run is not None
    settings = json.loads(run["settings"]) | {"telepathy": True}
    row = run | {"run_id": "000009", "settings": json.dumps(settings)}
    ledger.write(lake, "runs", "000009", "started", [row])
    (finished / "ledger" / "runs" / "notes.parquet").write_text("a file of somebody else's")
    said = runner.refused("publish", "v2", "--lake", str(finished))
    assert "setting telepathy, which this code does not know" in said
    assert runner.build(noise, finished) == 0
    assert runner.run("publish", "v2", "--lake", str(finished)) == 0


def test_a_damaged_manifest_is_left_out_and_told(runner: Runner, finished: Path) -> None:
    (finished / "versions" / "v1.json").write_text("{}")
    process = runner.start("rebuild", "--lake", str(finished))
    assert ended(process) == 0
    assert "Left out: version 'v1'" in process.said.read_text()


# Prefect ---------------------------------------------------------------------------------------------------------


SERVED = """
from flows.server import prefect
with prefect():
    from prefect import flow, task
    @task
    def one(number):
        return number
    @flow(name="served")
    def three():
        return sum(one.submit(number).result() for number in range(3))
    print(three())
"""


def test_the_embedded_server_needs_no_proxy_and_says_in_one_line_why_it_does_not_start(tmp_path: Path) -> None:
    script = [sys.executable, "-c", SERVED]
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    proxied = environment | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    served = subprocess.run(script, env=proxied, capture_output=True, text=True, check=False)
    assert served.stdout == "3\n", served.stderr
    # and what ran is on record, though the server ended with the command
    sql = """SELECT t.state_type FROM task_run t JOIN flow_run r ON r.id = t.flow_run_id JOIN flow f ON f.id = r.flow_id
             WHERE f.name = 'served'"""
    with sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db") as database:
        assert database.execute(sql).fetchall() == [("COMPLETED",)] * 3
    (tmp_path / "prefect.db").mkdir()
    broken = environment | {"PREFECT_HOME": str(tmp_path)}
    ended = subprocess.run(script, env=broken, capture_output=True, text=True, check=False)
    assert "embedded server does not start" in ended.stderr.splitlines()[-1]
