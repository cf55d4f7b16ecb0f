"""Commands on stand-in engines, each in a process group of its own that can be killed, at a chosen write if need be."""

import fnmatch
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch  # noqa: F401

import flows.build
import flows.publish
import flows.verify  # noqa: F401
from benchmark.speed.stand_ins import stand_in
from flows import cli

SETTINGS = ("--set", "intake.size=128", "--set", "intake.min_side=64", "--set", "shards.samples=5")

# commands are forked from a process that has imported this file, and with it what they would import late
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["tests.flows.commands"])


def command(moment: str, pattern: str, arguments: tuple[str, ...], said: Path) -> None:
    """Run the command in a process group of its own; what it says goes to a file.

    `moment` is before, torn or after the naming of the first file of the lake that is named like `pattern`.
    """
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    die_at(moment, pattern)
    stand_in()
    sys.argv = ["omnirefiner", *arguments]
    cli.main()


def die_at(moment: str, pattern: str) -> None:
    """Die at the first file of the lake that is given a name like `pattern`."""

    def deadly(name: str) -> None:
        real = getattr(os, name)

        def call(source: Path, target: Path, **options: Any) -> None:
            doomed = fnmatch.fnmatch(str(target), f"*/lake/{pattern}")
            if doomed and moment == "torn":
                os.truncate(source, Path(source).stat().st_size // 2)
            if doomed and moment in ("before", "torn"):
                os.killpg(0, signal.SIGKILL)
            real(source, target, **options)
            if doomed:
                os.killpg(0, signal.SIGKILL)

        setattr(os, name, call)

    deadly("link")
    deadly("replace")


class Runner:
    """Runs commands; what they say goes to a file."""

    def __init__(self, folder: Path) -> None:
        self.said = folder / "said.txt"

    def start(self, *arguments: str, dies: tuple[str, str] = ("never", "-")) -> Any:
        process = FORKED.Process(target=command, args=(*dies, arguments, self.said))
        process.start()
        return process

    def run(self, *arguments: str, dies: tuple[str, str] = ("never", "-"), kill_after: float | None = None) -> int:
        """Return how a command ended."""
        process = self.start(*arguments, dies=dies)
        process.join(timeout=kill_after or 120)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL), self.said.read_text()
        return int(process.exitcode)

    def build_and_publish(self, photos: Path, lake: Path, **fate: Any) -> int:
        """Build, then publish v1; either may die."""
        ended = self.run("build", str(photos), "--lake", str(lake), *SETTINGS, **fate)
        return ended or self.run("publish", "v1", "--lake", str(lake), **fate)
