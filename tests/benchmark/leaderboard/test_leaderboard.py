"""The leaderboard: its tables say what the runs say, and its page is looked at in a real browser."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, Request

from benchmark.cases import Frozen, Problem
from benchmark.compare import estimate
from benchmark.leaderboard import ALL, entries, write_leaderboard
from benchmark.models import Answer, Identity, Model
from benchmark.run import figures_of, run, told_of
from schemas.benchmark import Weights
from schemas.errors import BenchmarkError
from tests.browser import chromium

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>'\"&amp;\u2028{{7*7}}${alert(2)}"
COUNT = 8


@dataclass(frozen=True)
class Towards:
    """A model that goes a share of the way to the truth: it is told it beforehand."""

    truth: dict[str, np.ndarray]
    share: float
    name: str
    at_once: int = 4

    @property
    def about(self) -> dict[str, Any]:
        return {"model": self.name, "how": "knows the answers"}

    def answer(self, problems: Sequence[Problem]) -> list[Answer]:
        mixed = [one.input + self.share * (self.truth[one.key].astype(float) - one.input) for one in problems]
        return [np.rint(pixels).astype(np.uint8) for pixels in mixed]


@pytest.fixture(scope="module")
def runs(bench: Frozen, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    truth = {key: bench.case(key).target for key in bench.keys[:COUNT]}
    identity = Identity({"model": "identity", "how": "whole"})
    models: list[Model] = [identity, Towards(truth, 0.5, HOSTILE), Towards(truth, 1, "perfect")]
    folders = [root / str(number) for number in range(3)]
    for folder, model in zip(folders, models, strict=True):
        run(bench, model, folder, Weights(), limit=COUNT)
    return folders


@pytest.fixture(scope="module")
def written(bench: Frozen, runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("leaderboard")
    write_leaderboard(bench, entries(bench, runs), out, "psnr_inside", 3)
    return out


def test_the_better_model_stands_higher_by_every_metric_and_wins_its_duels(written: Path) -> None:
    told = json.loads((written / "leaderboard.json").read_text())
    assert [model["name"] for model in told["models"]] == ["perfect", HOSTILE, "identity"]
    perfect, half, identity = (model["strata"][ALL] for model in told["models"])
    for name, metric in told["metrics"].items():
        sign = 1 if metric["better"] == "high" else -1
        assert sign * perfect[name]["mean"] >= sign * half[name]["mean"] >= sign * identity[name]["mean"], name
    assert perfect["psnr"]["mean"] == 100
    first = next(one for one in told["duels"] if one["metric"] == "ssim_inside" and one["other"] == "identity")
    assert (first["one"], first["wins"]) == ("perfect", 1)
    assert first["low"] is None or first["low"] > 0
    assert "lpips" not in told["metrics"] and "lpips" in told["not_computed"]


def test_the_tables_say_what_the_runs_say(written: Path, bench: Frozen, runs: list[Path]) -> None:
    with (written / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = [r for r in rows if (r["model"], r["stratum"], r["metric"]) == ("identity", ALL, "psnr_inside")]
    measured = figures_of(runs[0], told_of(runs[0])["metrics"])
    groups = [bench.facts[one["key"]]["group"] for one in sorted(measured, key=lambda one: one["key"])]
    values = np.array([one["psnr_inside"] for one in sorted(measured, key=lambda one: one["key"])])
    expected = estimate(values, groups)
    assert float(row["mean"]) == pytest.approx(expected.mean, rel=1e-5)
    assert int(row["samples"]) == COUNT
    assert not any("lpips" in r["metric"] for r in rows)
    with (written / "samples.csv").open() as file:
        samples = list(csv.DictReader(file))
    assert len(samples) == 3 * len(bench.keys)
    assert samples[-1]["psnr"] == ""  # which nobody ran


def test_the_same_runs_give_the_same_bytes(written: Path, bench: Frozen, runs: list[Path], tmp_path: Path) -> None:
    write_leaderboard(bench, entries(bench, runs), tmp_path, "psnr_inside", 3)
    for file in written.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()


def test_runs_that_do_not_compare_are_refused(bench: Frozen, runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="name a folder that `omnirefiner benchmark run` wrote"):
        entries(bench, [tmp_path])
    other = tmp_path / "other"
    other.mkdir()
    told = json.loads((runs[0] / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(told | {"content": "0" * 32}))
    with pytest.raises(BenchmarkError, match="it is of another benchmark"):
        entries(bench, [runs[0], other])
    (other / "run.json").write_text(json.dumps(told))
    with pytest.raises(BenchmarkError, match="nothing in it is measured yet"):
        entries(bench, [other])
    with pytest.raises(BenchmarkError, match="no metric that was computed"):
        write_leaderboard(bench, entries(bench, runs), tmp_path, "lpips", 3)


@pytest.fixture(scope="module")
def browser(written: Path) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, written: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page, opened offline; the list fills with whatever is not as it should be."""
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(5000)
    page, trouble = context.new_page(), list[str]()

    def dismiss(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def note(asked: Request) -> None:
        if not asked.url.startswith(("file:", "data:")):
            trouble.append(f"asked for {asked.url}")

    page.on("console", lambda said: trouble.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("dialog", dismiss)
    page.on("request", note)
    page.goto((written / "leaderboard.html").as_uri())
    yield page, trouble
    context.close()


def test_it_opens_offline_and_shows_table_bars_and_cases(page: tuple[Page, list[str]], bench: Frozen) -> None:
    opened, trouble = page
    assert opened.inner_text("h1") == "bench"
    names = opened.locator("#table tbody th").all_inner_texts()
    assert [name.split("\n")[0] for name in names] == ["perfect", HOSTILE, "identity"]
    assert all(f"incomplete: {COUNT} of {len(bench.keys)}" in name for name in names)
    assert opened.locator("#strata figure").count() >= 3
    assert opened.locator("#strata figure").first.locator("rect").count() == 3
    assert "Not computed" in opened.inner_text("#missing")
    assert opened.locator(".case").count() >= 3
    for image in opened.locator(".case").first.locator("img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert trouble == []


def test_another_metric_redraws_all(page: tuple[Page, list[str]]) -> None:
    opened, trouble = page
    before = opened.inner_text("#strata")
    opened.select_option("#metric", "seam")
    assert opened.inner_text("#strata") != before
    assert "lower is better" in opened.inner_text("#legend")
    assert opened.locator("#table td.chosen").first.inner_text().startswith("0.0")
    assert opened.locator("#duels tbody tr").count() == 3
    assert trouble == []


def test_the_worst_come_first_and_the_slider_moves(page: tuple[Page, list[str]]) -> None:
    opened, trouble = page
    opened.select_option("[name=model]", label="identity")
    captions = opened.locator(".case .shots figure:last-child figcaption").all_inner_texts()
    figures = [float(text.rpartition(": ")[2]) for text in captions]
    assert figures == sorted(figures)
    opened.select_option("[name=left]", label="identity")
    stage = opened.locator(".case .compare").first
    slider = stage.locator("input")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box
    opened.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    assert 70 <= int(slider.input_value()) <= 90
    layer = stage.locator(".layer").evaluate("layer => getComputedStyle(layer).clipPath")
    assert f"{100 - int(slider.input_value())}%" in layer
    opened.select_option("[name=stratum]", index=1)
    chosen = opened.locator("[name=stratum]").input_value()
    assert set(opened.locator(".case .tag").all_inner_texts()) == {chosen}
    assert trouble == []
