"""The leaderboard: runs on one benchmark side by side, as a page that opens offline, a CSV table, and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from benchmark.cases import Frozen
from benchmark.compare import Duel, Estimate, Values, duel, estimate
from benchmark.leaderboard.pictures import shown_cases
from benchmark.metrics import METRICS
from benchmark.run import answers, figures_of, keep, told_of
from schemas.benchmark import stratum
from schemas.errors import BenchmarkError
from schemas.ids import digest
from tasks.ledger import Row
from tasks.report import ELEMENTS, LOOK, inert_json, policy_of

HERE = Path(__file__).parent
ALL = "all"
BY = "psnr_inside"  # what models are ranked by, if nothing else is said


class Entry:
    """A run as the leaderboard sees it: what it is, and its figures by key."""

    def __init__(self, frozen: Frozen, folder: Path) -> None:
        """Read a run. Raises BenchmarkError where it is of another benchmark, or there is nothing in it."""
        self.folder, told = folder, told_of(folder)
        if told["content"] != frozen.manifest["content"]:
            raise BenchmarkError(
                f"run {folder}: it is of another benchmark than '{frozen.name}' ('{told['benchmark']}'); leave it out"
            )
        self.about: Mapping[str, Any] = told["about"]
        self.name = str(self.about["model"])
        self.not_computed: Mapping[str, str] = told["not_computed"]
        self.metrics: str = told["metrics"]
        self.answers = answers(folder)
        figures = {row["key"]: row for row in figures_of(folder, self.metrics)}
        self.figures = {
            key: row for key, row in figures.items()
            if key in frozen.facts and self.answers.get(key, {}).get("sha256") == row["sha256"]
        }  # fmt: skip
        if not self.figures:
            raise BenchmarkError(f"run {folder}: nothing in it is measured yet; run it, then compare")

    def values(self, metric: str, keys: Sequence[str]) -> Values:
        """Return a metric of samples (N,), not-a-number where there is none."""
        found = (self.figures.get(key, {}).get(metric) for key in keys)
        return np.array([np.nan if value is None else value for value in found], np.float64)


def entries(frozen: Frozen, folders: Sequence[Path]) -> list[Entry]:
    """Read runs; those of one name are told apart by their folders. Raises BenchmarkError where they do not compare."""
    found = [Entry(frozen, folder) for folder in folders]
    if not found:
        raise BenchmarkError(f"benchmark '{frozen.name}': no run is named; `omnirefiner benchmark run` makes one")
    if len({entry.metrics for entry in found}) > 1:
        raise BenchmarkError(
            f"runs {', '.join(str(entry.folder) for entry in found)}: their metrics are of different weights or "
            "formulas; run each again with the same --set weights.*, which measures them anew"
        )
    names = [entry.name for entry in found]
    for entry in found:
        if names.count(entry.name) > 1:
            entry.name = f"{entry.name} ({entry.folder})"
    return found


def compared(frozen: Frozen, found: Sequence[Entry], by: str = BY) -> dict[str, Any]:
    """Return what the runs say, best first by a metric: of each its means in each stratum, and all duels.

    Raises BenchmarkError where the metric is not known, or was not computed.
    """
    if by not in METRICS or by in found[0].not_computed:
        known = ", ".join(name for name in METRICS if name not in found[0].not_computed)
        raise BenchmarkError(f"--by {by}: it is no metric that was computed; there are: {known}")
    keys = frozen.keys
    groups = {key: str(frozen.facts[key]["group"]) for key in keys}
    strata = {ALL: keys, **_strata(frozen, keys)}
    metrics = [name for name in METRICS if name not in found[0].not_computed]
    models = [_model(entry, strata, groups, metrics) for entry in found]
    sign = -1 if METRICS[by].better == "high" else 1
    order = sorted(range(len(models)), key=lambda one: (
        models[one]["measured"] < len(keys), sign * (models[one]["strata"][ALL][by]["mean"] or 0), models[one]["name"]
    ))  # fmt: skip
    return {
        "benchmark": frozen.name,
        "content": frozen.manifest["content"],
        "samples": len(keys),
        "groups": len(set(groups.values())),
        "by": by,
        "metrics": {name: asdict(METRICS[name]) for name in metrics},
        "not_computed": dict(found[0].not_computed),
        "strata": {name: len(members) for name, members in strata.items()},
        "models": [models[one] for one in order],
        "duels": [
            {"one": found[one].name, "other": found[other].name, "metric": metric, **_duel(told)}
            for one, other in combinations(order, 2)
            for metric in metrics
            for told in [_against(found[one], found[other], metric, keys, groups)]
        ],
    }


def write_leaderboard(frozen: Frozen, found: Sequence[Entry], out: Path, by: str, cases: int) -> dict[str, Any]:
    """Write leaderboard.html, .csv and .json into a folder; return what they say. The same runs give the same bytes."""
    told = compared(frozen, found, by)
    keep(out / "leaderboard.json", (json.dumps(told, indent=1) + "\n").encode())
    keep(out / "leaderboard.csv", as_csv(told).encode())
    keep(out / "samples.csv", samples_csv(frozen, found, list(told["metrics"])).encode())
    by_name = {entry.name: entry for entry in found}
    ordered = [by_name[model["name"]] for model in told["models"]]
    shown, pictures = shown_cases(frozen, ordered, by, cases)
    style = LOOK.read_text() + (HERE / "page.css").read_text()
    script = ELEMENTS.read_text() + (HERE / "page.js").read_text()
    page = Template((HERE / "page.html").read_text()).substitute(
        title=html.escape(f"{frozen.name} · OmniRefiner benchmark"), policy=policy_of(style, script), style=style,
        script=script, facts=inert_json(told | {"cases": shown}), pictures=inert_json(pictures),
    )  # fmt: skip
    keep(out / "leaderboard.html", page.encode())
    return told


def as_csv(told: Mapping[str, Any]) -> str:
    """Return one line a model, stratum and metric."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", "stratum", "metric", "mean", "low", "high", "samples", "groups"])
    for model in told["models"]:
        for name, figures in model["strata"].items():
            for metric, one in figures.items():
                row = [one[column] for column in ("mean", "low", "high", "samples", "groups")]
                table.writerow(
                    [_inert(model["name"]), name, metric, *("" if value is None else value for value in row)]
                )
    return text.getvalue()


def samples_csv(frozen: Frozen, found: Sequence[Entry], metrics: Sequence[str]) -> str:
    """Return one line a sample and model with all its metrics."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["key", "category", "task", "model", *metrics])
    for key in frozen.keys:
        facts = frozen.facts[key]
        for entry in found:
            row: Row = entry.figures.get(key, {})
            values = ["" if row.get(metric) is None else row[metric] for metric in metrics]
            table.writerow([key, facts["category"], facts["task"], _inert(entry.name), *values])
    return text.getvalue()


def _inert(name: str) -> str:
    """Return a name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name


def _strata(frozen: Frozen, keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys of each category, of each task, and of each stratum, in the order of their names."""
    found: dict[str, list[str]] = {}
    for key in keys:
        category, task = (str(frozen.facts[key][field]) for field in ("category", "task"))
        for name in {category, task, stratum(category, task)}:
            found.setdefault(name, []).append(key)
    return dict(sorted(found.items(), key=lambda one: (", " in one[0], one[0])))


def _model(
    entry: Entry, strata: Mapping[str, Sequence[str]], groups: Mapping[str, str], metrics: Sequence[str]
) -> dict[str, Any]:
    return {
        "name": entry.name,
        "id": digest("model", entry.name)[:12],
        "how": entry.about.get("how", ""),
        "about": dict(entry.about),
        "measured": len(entry.figures),
        "refused": sum(row["refused"] is not None for row in entry.answers.values()),
        "strata": {
            name: {
                metric: _told(estimate(entry.values(metric, keys), [groups[key] for key in keys])) for metric in metrics
            }
            for name, keys in strata.items()
        },
    }


def _against(one: Entry, other: Entry, metric: str, keys: Sequence[str], groups: Mapping[str, str]) -> Duel:
    high_is_better = METRICS[metric].better == "high"
    named = [groups[key] for key in keys]
    return duel(one.values(metric, keys), other.values(metric, keys), named, high_is_better=high_is_better)


def _duel(found: Duel) -> dict[str, Any]:
    return {**_told(found.better), "wins": found.wins, "ties": found.ties}


def _told(found: Estimate) -> dict[str, Any]:
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in asdict(found).items()}
