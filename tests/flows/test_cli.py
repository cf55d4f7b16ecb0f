import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows import cli
from tests.conftest import SMALL, Built

COMMANDS = sorted(get_command(cli.app).commands)  # type: ignore[attr-defined]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as its entry point does and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["omnirefiner", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"omnirefiner {command}" in capsys.readouterr().out.split("Example:")[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["build", "nowhere"], "photos nowhere: not found"),
        (["build", ".", "--set", "pair.neighbors=2"], "did you mean 'pair.neighbours'"),
        (["build", ".", "--profile", "embeded"], "did you mean 'embedded'"),
        (["build", ".", "--set", "edit.autoencoder=nowhere"], "setting edit.autoencoder: nowhere"),
        (["build", ".", "--set", "intake.max_megapixels=inf"], "setting intake.max_megapixels"),
        (["status", "--lake", "nowhere"], "lake nowhere: there is none"),
        (["publish", "v1", "--lake", "nowhere"], "lake nowhere: there is none"),
        (["verify", "--lake", "nowhere"], "lake nowhere: there is none"),
    ],
)
def test_trouble_ends_in_one_line_before_any_work(
    arguments: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_itself_ends_cleanly(built: Built) -> None:
    """In a process of its own: no traceback, no noise of libraries at exit."""
    command = [str(Path(sys.executable).with_name("omnirefiner")), "verify", "v1", "--lake", str(built.lake.root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "All as published: 1 versions" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "leaked" not in ended.stderr


def test_trouble_in_a_flow_ends_in_one_line_too(copied: Built) -> None:
    for folder in ("versions", "shards"):
        shutil.rmtree(copied.lake.root / folder)
    for artifact in (copied.lake.root / "artifacts").glob("*/*.png"):
        artifact.unlink()
    command = [str(Path(sys.executable).with_name("omnirefiner")), "publish", "v2", "--lake", str(copied.lake.root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    first, last = ended.stderr.splitlines()
    assert (first, last.partition(": ")[0]) == ("Starting Prefect", "omnirefiner")
    assert ".png: it is missing" in last


def test_build_prints_json(copied: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [part for assignment in SMALL for part in ("--set", assignment)]
    root = str(copied.lake.root)
    assert run(monkeypatch, "build", str(copied.photos), "--lake", root, "--json", "--publish", "v2", *settings) == 0
    summary = printed(capsys)
    assert summary["version"] == "v2"
    assert summary["funnel"]["quadruplets"] == copied.summary.funnel.quadruplets


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    assert run(monkeypatch, "build", str(built.photos), "--lake", str(lake), "--dry-run", "--json") == 0
    forecast = {one["stage"]: one for one in printed(capsys)}
    assert forecast["ingest"]["open"] == 18
    assert forecast["restore"]["open"] == 0 < forecast["restore"]["expected"]
    assert not lake.exists()

    settings = [part for assignment in SMALL for part in ("--set", assignment)]
    arguments = ["build", str(built.photos), "--lake", str(built.lake.root), "--dry-run", "--json", *settings]
    assert run(monkeypatch, *arguments) == 0
    assert all(one["open"] == one["expected"] == 0 for one in printed(capsys))
    assert run(monkeypatch, *arguments, "--set", "edit.feather=2") == 0
    forecast = {one["stage"]: one for one in printed(capsys)}
    assert forecast["edit"]["open"] == built.summary.funnel.instructions
    assert forecast["instruct"]["open"] == 0


def test_query_answers_with_a_list_of_objects(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT category, count(*) AS n FROM quadruplets GROUP BY 1 ORDER BY n DESC"
    assert run(monkeypatch, "query", sql, "--lake", str(built.lake.root), "--json") == 0
    assert {row["category"]: row["n"] for row in printed(capsys)} == built.summary.funnel.by_category


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "ATTACH 'other.duckdb'",
        "DROP VIEW quadruplets",
        "DELETE FROM ledger_pair",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELEKT 1",
        "COPY (SELECT 'x'::BLOB AS b) TO '{lake}/catalog.duckdb.wal' (FORMAT blob)",
        "EXPLAIN ANALYZE COPY (SELECT 'x'::BLOB AS b) TO '{lake}/catalog.duckdb.wal' (FORMAT blob)",
        "SELECT INTERVAL '100000000 years'",
    ],
)
def test_query_cannot_touch_the_machine_or_the_lake(
    built: Built, sql: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(built.lake.root.iterdir())
    assert run(monkeypatch, "query", sql.format(lake=built.lake.root), "--lake", str(built.lake.root)) == 2
    assert capsys.readouterr().err.startswith("omnirefiner: query:")
    assert list(tmp_path.iterdir()) == []
    assert sorted(built.lake.root.iterdir()) == before


@pytest.mark.parametrize("sql", ["", ";", "SELECT 1; SELECT 2", "/* nothing */"])
def test_query_wants_one_question(
    built: Built, sql: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "query", sql, "--lake", str(built.lake.root)) == 2
    assert "give one SELECT" in capsys.readouterr().err


def test_query_keeps_columns_of_one_name_apart(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "query", "SELECT 1 AS a, 2 AS a, 3 AS a", "--lake", str(built.lake.root), "--json") == 0
    assert printed(capsys) == [{"a": 1, "a:1": 2, "a:2": 3}]


def test_a_name_cannot_command_the_terminal(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT chr(27) || '[2J' || chr(10) || '[red]mug[/]' AS name"
    assert run(monkeypatch, "query", sql, "--lake", str(built.lake.root)) == 0
    assert r"\x1b[2J\n[red]mug[/]" in capsys.readouterr().out


def test_why_tells_the_story_of_photo_pair_edit_and_quadruplet(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(built.lake.root)

    def story(item: str) -> list[dict[str, str]]:
        assert run(monkeypatch, "why", item, "--lake", root, "--json") == 0
        lines: list[dict[str, str]] = printed(capsys)
        return lines

    assert run(monkeypatch, "query", "FROM quadruplets LIMIT 1", "--lake", root, "--json") == 0
    (row,) = printed(capsys)
    whats = [line["what"] for line in story(row["quadruplet_id"][:12])]
    assert whats == ["target", "reference", "pair", "instruction", "edit", "quadruplet", "scores", "versions"]
    for name in ("pair_id", "instruction_id", "edit_id", "target_id"):
        assert row["quadruplet_id"] in {line["id"] for line in story(row[name])}
    (path,) = {line["detail"].split(",")[0] for line in story(row["target_id"]) if line["what"] == "photo"}
    assert story(path) == story(row["target_id"])
    assert run(monkeypatch, "why", "ffffffffffff", "--lake", root) == 2


def test_why_finds_a_refused_file_by_its_path(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "my photos"
    shutil.copytree(next(path for path in built.photos.iterdir() if path.is_dir()), photos / "it's")
    (photos / "it's" / "bad.png").write_text("<html>")
    settings = [part for assignment in SMALL for part in ("--set", assignment)]
    lake = str(tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "build", "my photos", "--lake", lake, "--json", *settings) == 0
    capsys.readouterr()
    for name in ("it's/bad.png", "my photos/it's/bad.png", str(photos / "it's" / "bad.png")):
        assert run(monkeypatch, "why", name, "--lake", lake, "--json") == 0
        (line,) = printed(capsys)
        assert line["outcome"] == "refused: not-an-image"
    assert run(monkeypatch, "query", "SELECT path FROM rejections", "--lake", lake, "--json") == 0
    assert printed(capsys) == [{"path": "it's/bad.png"}]


def test_a_lost_catalogue_is_made_anew(
    copied: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.lake.snapshot.unlink()
    assert run(monkeypatch, "status", "--lake", str(copied.lake.root)) == 2
    assert run(monkeypatch, "rebuild", "--lake", str(copied.lake.root)) == 0
    capsys.readouterr()
    assert run(monkeypatch, "status", "--lake", str(copied.lake.root), "--json") == 0
    assert printed(capsys)["funnel"]["quadruplets"] == copied.summary.funnel.quadruplets


def test_an_edited_manifest_is_found(
    copied: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied.lake.manifest("v1")
    path.write_text(path.read_text().replace('"parent": null', '"parent": "v0"'))
    assert run(monkeypatch, "verify", "--lake", str(copied.lake.root)) == 1
    assert "edited since it was published" in capsys.readouterr().out


def test_status_and_verify_print_json(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "status", "--lake", str(built.lake.root), "--json") == 0
    status = printed(capsys)
    assert status["funnel"]["photos"] == 18
    assert status["versions"][0]["version"] == "v1"
    assert run(monkeypatch, "verify", "--lake", str(built.lake.root), "--json") == 0
    assert printed(capsys) == {"versions": ["v1"], "findings": []}


def test_verify_names_a_flipped_bit_and_ends_with_one(
    copied: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = sorted((copied.lake.root / "shards").glob("*.tar"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 4
    shard.write_bytes(data)
    assert run(monkeypatch, "verify", "v1", "--lake", str(copied.lake.root), "--json") == 1
    assert any(finding["where"] == f"shards/{shard.name}" for finding in printed(capsys)["findings"])


def test_sheet_draws_a_picture(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.png"
    arguments = ["sheet", str(out), "--lake", str(built.lake.root), "--count", "2"]
    assert run(monkeypatch, *arguments) == 0
    assert out.stat().st_size > 10_000
    assert run(monkeypatch, *arguments, "--where", "category = 'nothing'") == 2
    assert "no quadruplets where" in capsys.readouterr().err


def test_sheet_draws_pairs_by_a_score(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.png"
    assert run(monkeypatch, "sheet", str(out), "--lake", str(built.lake.root), "--pairs", "style", "--count", "6") == 0
    assert capsys.readouterr().out.startswith("6 pairs: ")
    assert out.stat().st_size > 10_000
    assert run(monkeypatch, "sheet", str(out), "--lake", str(built.lake.root), "--pairs", "beauty") == 2


def test_doctor_examines_and_finds_what_is_bad(
    built: Built, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(built.lake.root)
    assert run(monkeypatch, "doctor", "--lake", root, "--json") == 0
    assert {check["name"] for check in printed(capsys)} >= {"python", "packages", "writer", "editor", "prefect", "lake"}
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert run(monkeypatch, "doctor", "--lake", root, "--json", "--set", "edit.autoencoder=nowhere.safetensors") == 1
    bad = {check["name"]: check["detail"] for check in printed(capsys) if check["verdict"] == "bad"}
    assert "nowhere.safetensors" in bad["autoencoder"]
    assert "127.0.0.1:9" in bad["prefect"]
