"""`omnirefiner review` as a command: beside a build that writes, killed at any moment, ended; what its verdicts do."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from schemas.ids import canonical
from tasks import catalog, ledger
from tasks.lake import open_lake
from tests.flows.commands import SETTINGS, Runner, ended, wait_until_paused
from tests.flows.test_cli import printed, run


@pytest.fixture
def lake(uninterrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(uninterrupted, tmp_path / "lake"))


def started(runner: Runner, lake: Path, reviewer: str, *more: str, fate: tuple[str, str] = ("never", "-")) -> Any:
    """Start a review and wait for its address, which it then bears."""
    process = runner.start("review", *more, "--lake", str(lake), "--reviewer", reviewer, fate=fate)
    while "http://" not in (said := process.said.read_text() if process.said.exists() else ""):
        assert process.is_alive(), said
        time.sleep(0.05)
    process.address = next(line for line in said.splitlines() if line.startswith("http://"))
    return process


@contextmanager
def page(process: Any) -> Iterator[httpx.Client]:
    url = urlsplit(process.address)
    headers = {"Authorization": f"Bearer {url.fragment}", "Origin": f"http://{url.netloc}"}
    with httpx.Client(base_url=f"http://{url.netloc}", headers=headers, trust_env=False) as client:
        yield client


def judge(process: Any, number: int, verdict: str = "keep", reason: str | None = None) -> None:
    with page(process) as client:
        got = client.post(f"/items/{number}/verdict", json={"verdict": verdict, "reason": reason})
    assert got.status_code == 200, got.text


def interrupt(process: Any) -> str:
    """End a command as Ctrl-C does and return what it said."""
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == 0
    return str(process.said.read_text())


def reviews(lake: Path) -> list[tuple[Any, ...]]:
    with catalog.read(open_lake(lake)) as connection:
        found = catalog.rows(connection, "SELECT reviewer, verdict, reason FROM reviews ORDER BY ALL")
    return [tuple(row.values()) for row in found]


def everything(lake: Path) -> dict[str, str]:
    with catalog.read(open_lake(lake)) as connection:
        return {view: canonical([[str(value) for value in row.values()] for row in
                                 catalog.rows(connection, f"FROM {view} ORDER BY ALL")])
                for view in ("ledger_reviews", "all_reviews", "reviews", "reviewed")}  # fmt: skip


def test_two_review_while_a_build_writes_and_starts_and_ends(runner: Runner, noise: Path, lake: Path) -> None:
    anna = started(runner, lake, "anna")
    build = ("build", str(noise), "--lake", str(lake), *SETTINGS, "--set", "edit.strength=[0.9, 1.0]")
    builder = runner.start(*build, fate=("pause", "ledger/edit/*"))
    wait_until_paused(builder)
    ben = started(runner, lake, "ben")
    for number in range(3):
        judge(anna, number)
        judge(ben, number, "drop", "unchanged")
    assert "the catalogue shows the verdicts when it ends" in interrupt(ben)
    os.killpg(builder.pid, signal.SIGCONT)
    assert ended(builder) == 0
    judge(anna, 3)
    assert "4 of" in interrupt(anna)
    back = runner.build(noise, lake)  # under the settings whose samples were shown
    assert back == 0
    assert reviews(lake) == [*[("anna", "keep", None)] * 4, *[("ben", "drop", "unchanged")] * 3]


def test_a_verdict_that_was_shown_as_saved_survives_a_kill(runner: Runner, lake: Path) -> None:
    anna = started(runner, lake, "anna")
    judge(anna, 0)
    judge(anna, 1, "drop", "unsafe")
    os.killpg(anna.pid, signal.SIGKILL)
    anna.join()
    assert reviews(lake) == []  # the catalogue was not renewed
    assert runner.run("rebuild", "--lake", str(lake)) == 0
    assert reviews(lake) == [("anna", "drop", "unsafe"), ("anna", "keep", None)]
    before = everything(lake)
    (lake / "catalog.duckdb").unlink()
    assert runner.run("rebuild", "--lake", str(lake)) == 0
    assert everything(lake) == before


@pytest.mark.parametrize(("moment", "verdicts"), [("before", 1), ("after", 2)])
def test_a_kill_at_the_moment_of_writing_loses_nothing_that_was_shown(
    moment: str, verdicts: int, runner: Runner, lake: Path
) -> None:
    anna = started(runner, lake, "anna", fate=(moment, "ledger/reviews/00000002-*"))
    judge(anna, 0)
    with page(anna) as client, pytest.raises(httpx.TransportError):
        client.post("/items/1/verdict", json={"verdict": "keep"})
    anna.join()
    assert runner.run("rebuild", "--lake", str(lake)) == 0
    assert len(reviews(lake)) == verdicts
    again = started(runner, lake, "anna", "--count", "1000")
    with page(again) as client:
        mine = [one for one in client.get("/session").json()["items"] if one]
    assert len(mine) == verdicts
    interrupt(again)


def test_what_two_said_is_printed_as_agreement(
    runner: Runner, lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    anna, ben = started(runner, lake, "anna"), started(runner, lake, "ben")
    for number in range(4):
        judge(anna, number, *(("drop", "unsafe") if number < 2 else ()))
        judge(ben, number, *(("drop", "unsafe") if number < 1 else ()))
    # while both still look, and the catalogue does not show it yet
    assert run(monkeypatch, "review", "--agreement", "--json", "--lake", str(lake)) == 0
    tables = printed(capsys)
    assert tables["Verdicts"] == [
        {"kind": "sample", "reviewer": "anna", "keep": 2, "drop": 2},
        {"kind": "sample", "reviewer": "ben", "keep": 3, "drop": 1},
    ]
    (two,) = tables["Agreement of two"]
    assert (two["both judged"], two["same"], two["kappa"].split()[0]) == (4, 3, "0.50")
    (of_all,) = tables["Agreement of all"]
    # of 8 verdicts 5 keep and 3 drop, 2 of 8 are unlike: 1 - 7 * 2 / (2 * 15)
    assert (of_all["of one mind"], of_all["alpha"]) == (3, "0.53")
    for process in (anna, ben):
        interrupt(process)
    assert run(monkeypatch, "review", "--agreement", "--lake", str(lake)) == 0
    assert "0.50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Give --reviewer NAME"),
        (["--reviewer", "\n"], "is no name"),
        (["--reviewer", "anna", "--where", "no_such_column = 1"], "no_such_column"),
        (["--reviewer", "anna", "--where", "false"], "no samples where false"),
        (["--reviewer", "anna", "--where", "true) UNION ALL FROM read_text('/etc/passwd'"], "query: "),
    ],
)
def test_what_cannot_be_reviewed_is_told_in_one_line(
    arguments: list[str], says: str, lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "review", *arguments, "--lake", str(lake)) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_calibrate_says_what_people_judged_and_where_it_is_too_little(
    runner: Runner, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "curve.png"), "--lake", str(lake))
    assert run(monkeypatch, "calibrate", *out) == 2
    assert "judge pairs or samples with `omnirefiner review`" in capsys.readouterr().err
    anna = started(runner, lake, "anna", "pairs")
    judge(anna, 0)
    judge(anna, 1, "drop", "style")
    interrupt(anna)
    assert run(monkeypatch, "calibrate", "--json", *out) == 0
    tables = printed(capsys)
    in_force = next(row for row in tables["pair.min_style by what people say"] if row[""] == "in force")
    assert (in_force["accepted"], in_force["people keep"]) == (2, 1)
    proposed = tables["Cuts that people's verdicts propose, and what they give"]
    assert all(row["cut"] is None and "too few verdicts" in row["tuned on"] for row in proposed)


def test_a_damaged_verdict_is_named(runner: Runner, lake: Path) -> None:
    anna = started(runner, lake, "anna")
    judge(anna, 0)
    interrupt(anna)
    (file,) = ledger.files(open_lake(lake), "reviews")
    file.write_bytes(b"PAR1 of a kind")
    name = str(file.relative_to(lake))
    assert name in runner.refused("rebuild", "--lake", str(lake))
    assert name in runner.refused("review", "--lake", str(lake), "--reviewer", "ben")
