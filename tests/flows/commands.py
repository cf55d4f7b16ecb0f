"""Commands on stand-in engines, each in a process group of its own that can be killed, at a chosen write if need be."""

import fnmatch
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Commands are forked from a process that has imported this file, and with it what they would import late, each anew.
import faiss  # noqa: F401
import prefect.server.api.server  # noqa: F401
import torch  # noqa: F401

import flows.build
import flows.compact
import flows.publish
import flows.verify  # noqa: F401
import tasks.engines.hamming  # noqa: F401
from benchmark.speed.stand_ins import stand_in
from flows import cli
from flows.server import talking_to
from schemas.ledger import STAGES
from tasks import catalog
from tasks.lake import open_lake
from tasks.manifests import read_manifest

SETTINGS = ("--set", "intake.size=128", "--set", "intake.min_side=64", "--set", "shards.samples=5")

PROGRESS = re.compile(r"Starting Prefect|\w+ +\d+/\d+ ")

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.flows.commands"])


def command(moment: str, pattern: str, arguments: tuple[str, ...], said: Path) -> None:
    """Run the command in a process group of its own; what it says goes to a file.

    It meets its fate at the first file of the lake that is given a name like `pattern`, or loses it: it is killed
    before or after, or before while the file is torn in half, or pauses after.
    """
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    meet_fate(moment, pattern)
    stand_in()
    sys.argv = ["omnirefiner", *arguments]
    with talking_to(os.environ["PREFECT_API_URL"]):
        cli.main()


def meet_fate(moment: str, pattern: str) -> None:
    """Have the files of the lake that are named like `pattern` kill or pause this process."""

    waiting = [pattern]

    def fateful(name: str) -> None:
        real = getattr(os, name)

        def call(source: Path, *targets: Path, **options: Any) -> None:
            named = str(targets[0] if targets else source)
            met = bool(waiting) and fnmatch.fnmatch(named, f"*/lake/{pattern}")
            if met:
                waiting.clear()
            if met and moment == "torn":
                os.truncate(source, Path(source).stat().st_size // 2)
            if met and moment in ("before", "torn"):
                os.killpg(0, signal.SIGKILL)
            real(source, *targets, **options)
            if met:
                os.killpg(0, signal.SIGSTOP if moment == "pause" else signal.SIGKILL)

        setattr(os, name, call)

    fateful("link")
    fateful("replace")
    fateful("unlink")


class Runner:
    """Runs commands; what they say goes to files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Any] = []

    def end(self) -> None:
        """Leave none of the commands behind, paused ones least of all."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def start(self, *arguments: str, fate: tuple[str, str] = ("never", "-")) -> Any:
        """Start a command; its `said` is the file of what it says."""
        said = self.folder / f"{len(self.started)}.txt"
        process: Any = FORKED.Process(target=command, args=(*fate, arguments, said))
        process.said = said
        process.start()
        self.started.append(process)
        return process

    def run(self, *arguments: str, fate: tuple[str, str] = ("never", "-"), kill_after: float | None = None) -> int:
        """Return how a command ended: well, or killed."""
        process = self.start(*arguments, fate=fate)
        process.join(timeout=kill_after or 120)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process.said.read_text()
        return int(process.exitcode)

    def refused(self, *arguments: str) -> str:
        """Return the one line in which a command says why it gives up."""
        process = self.start(*arguments)
        process.join(timeout=120)
        said: str = process.said.read_text()
        assert process.exitcode == 2, said
        *before, last = said.splitlines()
        assert all(PROGRESS.match(line) for line in before), said
        return last

    def build(self, photos: Path, lake: Path, *more: str, **fate: Any) -> int:
        """Build."""
        return self.run("build", str(photos), "--lake", str(lake), *SETTINGS, *more, **fate)

    def build_and_publish(self, photos: Path, lake: Path, **fate: Any) -> int:
        """Build, then publish v1; either may die."""
        return self.build(photos, lake, **fate) or self.run("publish", "v1", "--lake", str(lake), **fate)


def ended(process: Any) -> int:
    """Return how a process ended."""
    process.join(timeout=60)
    assert not process.is_alive(), process.said.read_text()
    return int(process.exitcode)


def wait_until_paused(process: Any) -> None:
    """Wait until a process has stopped as it was told."""
    for _ in range(600):
        listed = ["ps", "-o", "stat=", "-p", str(process.pid)]
        if subprocess.run(listed, check=False, capture_output=True, text=True).stdout.startswith("T"):
            return
        time.sleep(0.1)
    raise TimeoutError(process.said.read_text())


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
