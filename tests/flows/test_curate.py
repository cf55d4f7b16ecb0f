"""Curation through the command line: scored once, filtered, lifted, published, and the same from the ledger alone."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.build import build
from flows.curate import curate
from flows.publish import publish
from tasks import catalog, filters, ledger
from tasks.lake import Lake, open_lake
from tests.conftest import SMALL, Built
from tests.flows.test_cli import printed, run
from tests.tasks.engines import tiny_onnx

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lake(scored: Built, tmp_path: Path) -> Lake:
    shutil.copytree(scored.lake.root, tmp_path / "lake")
    return open_lake(tmp_path / "lake")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text("""name = "mine"
[[rule]]
reason = "large"
drop = "mask_area > (0.02)"
words = "the edit is large"
[[rule]]
reason = "text"
drop = "category = 'text'"
[[rule]]
reason = "never-scored"
drop = "lpips > 0"
""")
    return path


def asked(lake: Lake, sql: str) -> list[dict[str, Any]]:
    with catalog.read(lake) as connection:
        return catalog.ask(connection, sql)


def content(lake: Lake) -> Iterator[tuple[str, list[str]]]:
    for view in ("samples", "curated", "dropped", "filter_rules", "by_rule", "scores", "rejections", "quadruplets"):
        yield view, [repr(row) for row in asked(lake, f"FROM {view} ORDER BY ALL")]


def files(lake: Lake) -> list[Path]:
    return sorted(path for path in lake.root.rglob("*") if path.is_file())


def test_a_set_is_tried_put_in_force_published_and_lifted(
    lake: Lake, mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--lake", str(lake.root), "--json"]
    everything = [row["quadruplet_id"] for row in asked(lake, "FROM samples ORDER BY 1")]
    large = {row["quadruplet_id"] for row in asked(lake, "FROM samples WHERE mask_area > 0.02")}
    text = {row["quadruplet_id"] for row in asked(lake, "FROM samples WHERE category = 'text'")} - large
    assert large
    assert text

    there = files(lake)
    assert run(monkeypatch, "curate", *at, "--filters", str(mine), "--dry-run") == 0
    tried = printed(capsys)
    assert tried["newly_dropped"] == {"large": len(large), "text": len(text)}
    assert [rule["unknown"] for rule in tried["rules"]] == [0, 0, len(everything)]
    assert files(lake) == there
    assert asked(lake, "FROM dropped") == []

    assert run(monkeypatch, "curate", *at, "--filters", str(mine)) == 0
    curated = printed(capsys)
    assert curated["step"]["items"] == 0
    assert curated["effect"]["curated"] == len(everything) - len(large) - len(text)
    assert {row["quadruplet_id"]: row["rule"] for row in asked(lake, "FROM dropped")} == (
        dict.fromkeys(large, 1) | dict.fromkeys(text, 2)
    )
    found = asked(lake, "SELECT reason, count(*) AS n FROM rejections WHERE stage = 'curate' GROUP BY 1 ORDER BY 1")
    assert found == [{"reason": "large", "n": len(large)}, {"reason": "text", "n": len(text)}]
    assert run(monkeypatch, "why", min(large), *at) == 0
    assert [line["outcome"] for line in printed(capsys) if line["what"] == "filters"] == ["dropped: large"]
    assert run(monkeypatch, "status", *at) == 0
    assert printed(capsys)["funnel"]["curated"] == curated["effect"]["curated"]

    before = dict(content(lake))
    lake.snapshot.unlink()
    assert run(monkeypatch, "rebuild", "--lake", str(lake.root)) == 0
    assert dict(content(lake)) == before
    capsys.readouterr()

    published = publish("v2", str(lake.root))
    assert published["samples"] == len(asked(lake, "FROM curated WHERE split_group <> 'benchmark'"))
    assert published["filters"] == filters.read_filters(mine).told()
    members = {row["quadruplet_id"] for row in asked(lake, "FROM version_members WHERE version = 'v2'")}
    assert not members & (large | text)
    assert run(monkeypatch, "verify", "v2", "--lake", str(lake.root)) == 0
    capsys.readouterr()

    assert run(monkeypatch, "curate", *at, "--filters", "none", "--dry-run") == 0
    assert printed(capsys)["brought_back"] == {"large": len(large), "text": len(text)}
    assert run(monkeypatch, "curate", *at, "--filters", "none") == 0
    capsys.readouterr()
    assert filters.in_force(lake) is None
    assert [row["quadruplet_id"] for row in asked(lake, "FROM curated ORDER BY 1")] == everything


def test_a_build_leaves_the_set_in_force_and_does_not_score(lake: Lake, scored: Built, mine: Path) -> None:
    ledger.files(lake, "score")[0].unlink()  # as if these had been built since
    filters.put_in_force(lake, "000001", filters.curation(lake).score_fingerprint, filters.read_filters(mine))  # type: ignore[union-attr]
    summary = build(str(scored.photos), str(lake.root), assignments=SMALL)
    assert "score" not in {step.stage for step in summary.steps}
    assert filters.in_force(lake) == filters.read_filters(mine)
    assert summary.funnel.refused["curate"]["large"] == len(asked(lake, "FROM samples WHERE mask_area > 0.02"))
    (row,) = asked(lake, "SELECT count(*) AS n, count(sharpness) AS scored FROM samples")
    assert row["n"] > row["scored"]
    again = curate(str(lake.root))
    assert again.step.items == again.step.answered == row["n"] - row["scored"]
    assert again.effect.unscored == 0


@pytest.mark.parametrize(
    "drop",
    ["sharpness <", "true; DROP TABLE samples", "INSERT INTO samples VALUES (1)", "COPY samples TO 'x.csv'",
     "ATTACH 'x.duckdb'", "EXISTS (FROM read_csv('/etc/passwd'))", "true) -- ", "sharpnes < 1"],
)  # fmt: skip
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_rule_that_is_not_right_is_refused_before_anything_is_done(
    drop: str, dry_run: tuple[str, ...], lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.toml"
    path.write_text(f"name = 'bad'\n[[rule]]\nreason = 'bad'\ndrop = {json.dumps(drop)}\n")
    before = files(lake)
    assert run(monkeypatch, "curate", "--lake", str(lake.root), "--filters", str(path), *dry_run) == 2
    assert re.search(r"^omnirefiner: filters \S+bad\.toml, rule 1 \(bad\): ", capsys.readouterr().err, re.MULTILINE)
    assert files(lake) == before
    assert sorted(tmp_path.iterdir()) == [path, lake.root]


def test_a_set_that_no_longer_fits_stops_the_catalogue_with_a_word_and_can_be_lifted(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = filters.FilterSet(name="old", rules=(filters.Rule(reason="old", drop="beauty < 3"),))
    filters.put_in_force(lake, "000001", "whatever", gone)
    assert run(monkeypatch, "rebuild", "--lake", str(lake.root)) == 2
    assert "filter set 'old', rule 1 (old): " in capsys.readouterr().err
    assert run(monkeypatch, "curate", "--lake", str(lake.root), "--filters", "none", "--json") == 0
    assert asked(lake, "SELECT count(*) AS n FROM curated") == asked(lake, "SELECT count(*) AS n FROM samples")


def test_a_classifier_is_asked_where_the_settings_name_one_and_doctor_tells(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "darkness.onnx"
    path.write_bytes(tiny_onnx.darkness())
    before = len(ledger.files(lake, "score"))
    curated = curate(str(lake.root), assignments=[f"score.safety={path}"])
    assert curated.step.items == curated.effect.samples
    assert len(ledger.files(lake, "score")) > before
    (row,) = asked(
        lake, "SELECT count(*) AS n, count(unsafe) AS told, min(unsafe) AS low, max(unsafe) AS high FROM samples"
    )
    assert row["n"] == row["told"]
    assert 0 < row["low"] < row["high"] < 1
    assert curate(str(lake.root)).step.items == 0  # those without it are there still
    assert asked(lake, "SELECT count(unsafe) AS n FROM samples") == [{"n": 0}]
    assert run(monkeypatch, "curate", "--lake", str(lake.root), "--set", "score.safety=none.onnx") == 2
    assert "setting score.safety: none.onnx: No such file" in capsys.readouterr().err
    assert run(monkeypatch, "doctor", "--lake", str(lake.root), "--json", "--set", f"score.safety={path}") == 0
    checks = {check["name"]: check for check in printed(capsys)}
    assert checks["score.safety"]["verdict"] == "ok"
    assert "lpips, clip, dino" in checks["scores"]["detail"]


def test_sheet_and_report_use_scores(
    scored: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--lake", str(scored.lake.root)]
    out = tmp_path / "sheet.png"
    assert (
        run(monkeypatch, "sheet", str(out), *at, "--by", "sharpness", "--where", "sharpness > 0", "--count", "2") == 0
    )
    assert out.stat().st_size > 10_000
    assert run(monkeypatch, "sheet", str(out), *at, "--by", "sharpnes") == 2
    assert "did you mean 'sharpness'?" in capsys.readouterr().err
    assert run(monkeypatch, "sheet", str(out), *at, "--by", "lpips") == 2
    assert "with a score of lpips" in capsys.readouterr().err
    page = tmp_path / "report.html"
    assert run(monkeypatch, "report", str(page), *at) == 0
    assert "Sharpness of the target" in page.read_text()
    assert "LPIPS" not in page.read_text()
