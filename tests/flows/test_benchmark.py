"""`omnirefiner benchmark`: built from the reserve alone, frozen, run, compared, and kept apart from training."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.review.verdicts import Verdicts
from flows import cli
from flows.benchmark import build_benchmark
from flows.publish import publish
from schemas.errors import VersionError
from schemas.reviews import REASONS, Kind, Review, Said
from tasks.catalog import read, rows
from tasks.lake import open_lake
from tasks.manifests import read_manifest
from tests.benchmark.conftest import bench, reserve  # noqa: F401
from tests.conftest import Built


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as its entry point does and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["omnirefiner", "benchmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def own(reserve: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A copy of the reserve's lake, to be changed at will."""
    shutil.copytree(reserve, tmp_path / "lake")
    return tmp_path / "lake"


def test_what_cannot_be_filled_is_told_and_nothing_is_built(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "build", "b", "--size", "300", "--lake", str(own)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("omnirefiner: benchmark 'b': 300 samples cannot be filled, missing are face, ref-fix: ")
    assert "take what there is with --partial" in said
    assert [*own.glob("versions/*.json"), *own.glob("shards/*")] == []


def test_a_benchmark_is_frozen_the_same_each_time_run_and_compared(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--size", "6", "--lake", str(own), "--set", "select.mask_area.least=0", "--json"]
    asked += ["--set", "select.damage.least=0", "--set", "select.view.least=0"]
    asked += ["--set", 'select.shares={"text, ref-fix"=2, "logo, ref-replace"=1}']
    assert run(monkeypatch, "build", "one", *asked) == 0
    first = printed(capsys)
    assert run(monkeypatch, "build", "two", *asked) == 0
    again = printed(capsys)
    assert (first["digest"], first["content"], first["samples"]) == (again["digest"], again["content"], 6)
    assert first["counts"]["category"] == {"logo": 2, "text": 4}
    manifest = read_manifest(open_lake(own), "one")
    assert (manifest["kind"], manifest["counts"]["split_group"]) == ("benchmark", {"benchmark": 6})
    assert len(set(manifest["benchmark"]["members"]["group"])) >= 2

    folder, out = str(tmp_path / "run"), str(tmp_path / "out")
    assert run(monkeypatch, "run", "one", "--model", "identity", "--lake", str(own), "--out", folder, "--json") == 0
    done = printed(capsys)
    assert (done["answered"], done["refused"], done["failed"]) == (6, 0, 0)
    assert run(monkeypatch, "leaderboard", "one", folder, "--lake", str(own), "--out", out) == 0
    assert "identity" in capsys.readouterr().out
    assert {path.name for path in Path(out).iterdir()} == {
        "leaderboard.html", "leaderboard.csv", "leaderboard.json", "samples.csv"
    }  # fmt: skip
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, "check", "one", str(tmp_path / "empty"), "--lake", str(own), "--json") == 1
    assert {fault["what"] for fault in printed(capsys)} == {"it is missing"}


def test_what_people_dropped_is_out_also_by_its_edit_or_pair(own: Path) -> None:
    lake = open_lake(own)
    with read(lake) as connection:
        samples = rows(connection, "SELECT * FROM samples ORDER BY quadruplet_id")
    by_pair = {row["pair_id"]: row for row in samples}
    one, *others = by_pair.values()
    another = next(row for row in others if row["edit_id"] != one["edit_id"])
    third = next(row for row in others if row["pair_id"] not in (one["pair_id"], another["pair_id"]))
    say(own, Kind.SAMPLE, one["quadruplet_id"], one["restore_instruction"])
    say(own, Kind.EDIT, another["edit_id"], another["input_sha256"])
    say(own, Kind.PAIR, third["pair_id"], None)
    manifest = build_benchmark("b", 300, str(own), partial=True)
    members = set(manifest["benchmark"]["members"]["key"])
    assert one["quadruplet_id"] not in members
    assert not {row["quadruplet_id"] for row in samples if row["edit_id"] == another["edit_id"]} & members
    assert not {row["quadruplet_id"] for row in samples if row["pair_id"] == third["pair_id"]} & members
    assert manifest["benchmark"]["left_out"]["dropped by reviewers"] >= 3


def say(root: Path, kind: Kind, item_id: str, shown: str | None) -> None:
    """Drop an item, as somebody does on the page of `omnirefiner review`."""
    dropped = Review(
        kind=kind, item_id=item_id, shown=shown, reviewer="anna", verdict=Said.DROP, reason=REASONS[kind][0]
    )
    Verdicts(open_lake(root), kind).record(dropped)


def test_what_a_training_version_held_is_never_in_a_benchmark(own: Path, built: Built) -> None:
    """Its products were trained on before they came into the reserve."""
    for folder in ("versions", "shards"):
        shutil.copytree(built.lake.root / folder, own / folder, dirs_exist_ok=True)
    with pytest.raises(VersionError, match=r"cannot be filled.*left out were \d+ trained on"):
        build_benchmark("b", 6, str(own))
    left = set(build_benchmark("b", 6, str(own), partial=True)["benchmark"]["members"]["group"])
    with read(built.lake) as connection:
        sql = "SELECT DISTINCT product FROM version_members JOIN quadruplets USING (quadruplet_id)"
        trained = {row["product"] for row in rows(connection, sql)}
    assert len(trained) == 5
    assert len(left) == 1  # the one that had been in the reserve from the start
    assert not left & trained


def test_nothing_of_the_reserve_is_published_for_training(own: Path) -> None:
    build_benchmark("b", 6, str(own), partial=True)
    with pytest.raises(VersionError, match="there are no quadruplets to publish"):
        publish("v1", str(own))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("build b --lake nowhere", "lake nowhere: there is none"),
        ("build b --lake {lake} --set select.per_produkt=3", "did you mean 'select.per_product'"),
        ("build b --lake {lake} --set select.damage.edges=[3,2]", "edges must rise"),
        ("build b --lake {lake} --set select.view.least=0.5", "bins of at least 50% each"),
        ("run v1 --model identity --lake {lake}", "it is for training, not a benchmark"),
        ("run none --model identity --lake {lake}", "version 'none': not in the lake"),
        ("run v1 --model identity --lake {lake} --rank 2 --world 2", "--rank 2: of --world 2 the last is 1"),
        ("run v1 --model identity --lake {lake} --set weights.lpis=x", "did you mean 'weights.lpips'"),
        ("leaderboard v1 nowhere --lake {lake}", "it is for training"),
        ("check v1 nowhere --lake {lake}", "it is for training"),
    ],
)
def test_trouble_ends_in_one_line(
    arguments: str, says: str, built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments.format(lake=built.lake.root).split()) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["build", "run", "leaderboard", "check"])
def test_each_has_an_example(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"omnirefiner benchmark {command}" in capsys.readouterr().out.split("Example:")[1]
