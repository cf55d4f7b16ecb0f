"""Runs: resumed after any end, shared by processes, kept by digest, and never mixed up."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.cases import Frozen, Problem
from benchmark.models import Answer, Identity
from benchmark.run import answers, figures_of, read_output, run, told_of
from schemas.benchmark import Weights
from schemas.errors import BenchmarkError
from schemas.ids import sha256
from schemas.records import EngineFailure, Refusal

NONE = Weights()
FIRST = 6  # samples of the benchmark that are run
SAME = Identity({"model": "identity", "how": "whole"})


@dataclass
class Stubborn:
    """Answers with the negative, refuses some and fails at others, as it is told."""

    refuses: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    about: Mapping[str, Any] = field(default_factory=lambda: {"model": "stubborn"})
    at_once: int = 2

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        self.asked += [problem.key for problem in problems]
        return [self._one(problem) for problem in problems]

    def _one(self, problem: Problem) -> Answer:
        if problem.key in self.fails:
            return EngineFailure("out of order")
        if problem.key in self.refuses:
            return Refusal("moderated", "it may not")
        return problem.input[:-1] if problem.key in self.wrong else 255 - problem.input


def figures(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in figures_of(folder, told_of(folder)["metrics"])}


def test_what_is_answered_is_kept_by_digest_measured_and_not_asked_again(bench: Frozen, tmp_path: Path) -> None:
    model = Stubborn()
    done = run(bench, model, tmp_path / "run", NONE, limit=FIRST)
    assert (done.samples, done.answered, done.refused, done.failed) == (FIRST, FIRST, 0, 0)
    assert model.asked == bench.keys[:FIRST]
    for key, row in answers(tmp_path / "run").items():
        file = tmp_path / "run" / "outputs" / row["sha256"][:2] / f"{row['sha256']}.webp"
        assert sha256(file.read_bytes()) == row["sha256"]
        assert np.array_equal(read_output(tmp_path / "run", row["sha256"]), 255 - bench.case(key).problem.input)
    assert figures(tmp_path / "run").keys() == set(bench.keys[:FIRST])
    again = Stubborn()
    assert run(bench, again, tmp_path / "run", NONE, limit=FIRST) == done
    assert again.asked == []


def test_a_failure_is_asked_again_and_a_refusal_counts_as_the_draft(bench: Frozen, tmp_path: Path) -> None:
    one, two, three, *_ = bench.keys
    broken = Stubborn(refuses={one}, fails={two}, wrong={three})
    done = run(bench, broken, tmp_path / "run", NONE, limit=FIRST)
    assert (done.answered, done.refused, done.failed, done.last_failure) == (FIRST - 3, 2, 1, "out of order")
    mended = Stubborn()
    done = run(bench, mended, tmp_path / "run", NONE, limit=FIRST)
    assert mended.asked == [two]
    assert (done.answered, done.refused, done.failed) == (FIRST - 2, 2, 0)
    identity = run(bench, SAME, tmp_path / "identity", NONE, limit=FIRST)
    assert identity.answered == FIRST
    for key in (one, three):
        same = {name: value for name, value in figures(tmp_path / "identity")[key].items() if name != "sha256"}
        assert same == {name: value for name, value in figures(tmp_path / "run")[key].items() if name != "sha256"}
    assert (answers(tmp_path / "run")[three]["refused"] or "").startswith("wrong-size")


def test_a_model_that_is_down_stops_the_run_and_loses_nothing(
    bench: Frozen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.run.FAILURES", 3)
    down = Stubborn(fails=set(bench.keys[2:]))
    with pytest.raises(BenchmarkError, match=r"stopped after \d failures in a row, the last: out of order"):
        run(bench, down, tmp_path / "run", NONE)
    assert answers(tmp_path / "run").keys() == figures(tmp_path / "run").keys() == set(bench.keys[:2])


def test_processes_share_a_run(bench: Frozen, tmp_path: Path) -> None:
    models = [Stubborn() for _ in range(3)]
    for rank, model in enumerate(models):
        run(bench, model, tmp_path / "run", NONE, rank=rank, world=3, limit=FIRST)
    assert sorted(key for model in models for key in model.asked) == bench.keys[:FIRST]
    run(bench, Stubborn(), tmp_path / "alone", NONE, limit=FIRST)
    assert figures(tmp_path / "run") == figures(tmp_path / "alone")


def test_a_folder_holds_one_run(bench: Frozen, tmp_path: Path) -> None:
    run(bench, SAME, tmp_path / "run", NONE, limit=1)
    with pytest.raises(BenchmarkError, match="begun with another about"):
        run(bench, Stubborn(), tmp_path / "run", NONE, limit=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(BenchmarkError, match="another folder's place"):
        run(bench, SAME, tmp_path / "other", NONE, limit=1)


def test_an_output_that_rots_is_told(bench: Frozen, tmp_path: Path) -> None:
    run(bench, SAME, tmp_path / "run", NONE, limit=1)
    (row,) = answers(tmp_path / "run").values()
    (file,) = (tmp_path / "run" / "outputs").rglob("*.webp")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BenchmarkError, match="its digest is not its name"):
        read_output(tmp_path / "run", row["sha256"])


KILLED = """
import os, signal, sys
from pathlib import Path
import benchmark.run
from benchmark.cases import open_frozen
from benchmark.models import open_model
from schemas.benchmark import Weights
from tasks.engines.load import one_thread_each

write, left = benchmark.run.keep, [0]
def keep(path, data):
    left[0] -= 1
    if left[0] == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.0").write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
benchmark.run.keep = keep
one_thread_each()
for number in map(int, sys.argv[3:]):
    child = os.fork()
    if not child:
        left[0] = number
        folder = Path(sys.argv[2]) / str(number)
        benchmark.run.run(open_frozen(Path(sys.argv[1]), "bench"), open_model("identity"), folder, Weights(), limit=2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
"""


def test_a_kill_at_any_write_loses_and_doubles_nothing(bench: Frozen, tmp_path: Path) -> None:
    """Killed in the middle of a write: of run.json, of an output, of a chunk's answers, of its figures."""
    writes = ["1", "3", "4", "5"]
    subprocess.run([sys.executable, "-c", KILLED, bench.split.root, str(tmp_path), *writes], check=True)
    whole = run(bench, SAME, tmp_path / "whole", NONE, limit=2)
    assert (whole.answered, whole.failed) == (2, 0)
    for write in writes:
        assert run(bench, SAME, tmp_path / write, NONE, limit=2) == whole
        assert figures(tmp_path / write) == figures(tmp_path / "whole")
        assert told_of(tmp_path / write) == told_of(tmp_path / "whole")
