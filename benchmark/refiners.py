"""Refiners side by side on products that none of them has seen, with intervals over products.

What each run's last validation wrote of its samples (`pictures/STEP.jsonl`) is read; means are taken over a product's
samples and the seeds, then over products: products are what was drawn at random, samples of one are alike. They are
taken over all samples, and by how far off the input was: what mends gross damage may do harm to what is nearly right.
"""

import base64
import html
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmark.compare import Estimate, estimate
from tasks.engines.change import paste_back
from training.dataset import Batch

FIGURES = {  # what is compared, and how it is called
    "psnr": "masked PSNR, dB", "likeness": "likeness", "background": "PSNR outside the mask, dB", "reward": "reward",
}  # fmt: skip
BESIDE = (("sft", "input"), ("sft", "blind"), ("sft", "paste"), ("grpo", "sft"))  # what each should surpass
GROSS = 22.0  # dB of the input within the mask, below which its damage is called gross; chosen on earlier runs
PARTS = {
    "all": "all samples",
    "gross": f"gross damage: input under {GROSS:g} dB",
    "slight": f"slight damage: input of {GROSS:g} dB or more",
}
DAMAGE = (14.0, 18.0, 22.0, 26.0, 30.0)  # dB of the input: bounds of what is plotted together
RING = 6  # px about the mask, whose colours the pasted reference takes on
FEATHER = 2  # px

Line = Mapping[str, Any]  # a sample's key and figures
Lines = Mapping[str, Sequence[Line]]  # by refiner
Values = Mapping[str, Mapping[str, float]]  # by product: its mean of each figure


@dataclass(frozen=True)
class Comparison:
    """How refiners compare: figures of each, and how much better one is than another, by name and figure."""

    samples: int
    products: int
    each: Mapping[str, Mapping[str, Estimate]]
    better: Mapping[str, Mapping[str, Estimate]]


def in_parts(lines: Lines) -> dict[str, Lines]:
    """Return the lines of all samples, and of those of gross and of slight damage, by the names of `PARTS`."""
    return {"all": lines, "gross": between(lines, 0, GROSS), "slight": between(lines, GROSS, math.inf)}


def between(lines: Lines, low: float, high: float) -> dict[str, list[Line]]:
    """Return the lines of samples whose input has a masked PSNR from `low` to below `high` dB.

    Those of an empty mask have none, and are left out.
    """
    return {
        name: [line for line in each if "psnr_input" in line and low <= float(line["psnr_input"]) < high]
        for name, each in lines.items()
    }


def compared(lines: Lines, products: Mapping[str, str]) -> Comparison:
    """Return how refiners compare that wrote lines of the same samples, over all seeds; `products` by sample.

    What the samples were before stands beside them as 'input', by the lines of 'grpo', or else of 'sft'.
    """
    values = {name: by_product(each, products) for name, each in lines.items()}
    values = {"input": _inputs(values["grpo"] if "grpo" in values else values["sft"]), **values}
    each = {
        name: {figure: one for figure in FIGURES if (one := interval(found, figure)) is not None}
        for name, found in values.items()
    }
    better = {
        f"{one} - {other}": {
            figure: gain for figure in FIGURES if (gain := interval(values[one], figure, values[other])) is not None
        }
        for one, other in BESIDE
        if one in values and other in values
    }
    return Comparison(len({line["key"] for line in lines["sft"]}), len(values["sft"]), each, better)


def by_product(lines: Sequence[Line], products: Mapping[str, str]) -> Values:
    """Return each product's means over all its lines."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        for name, value in line.items():
            if name != "key":
                found[products[str(line["key"])]][name].append(float(value))
    return {
        product: {name: float(np.mean(values)) for name, values in figures.items()}
        for product, figures in sorted(found.items())
    }


def interval(values: Values, figure: str, less: Values | None = None) -> Estimate | None:
    """Return the mean of a figure over products, or of what it is more than in `less`; None where it is not known."""
    apart = {
        product: figures[figure] - (less[product][figure] if less else 0)
        for product, figures in values.items()
        if figure in figures and (less is None or figure in less.get(product, {}))
    }
    return estimate(np.array(list(apart.values())), list(apart)) if apart else None


def told(one: Estimate | None) -> str:
    """Return a mean and the bounds of 95% in words; of one product there are no bounds."""
    if one is None or one.mean is None:
        return ""
    mean, *bounds = (
        f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
        for value in (one.mean, one.low, one.high)
        if value is not None
    )
    return f"{mean} ({' to '.join(bounds)})" if bounds else mean


def pasted(batch: Batch) -> Tensor:
    """Return the reference's crops pasted into the drafts by geometry alone, float32 (B, 3, H, W), 0..1.

    What could be had by copying: the crop (best with data.reference = "aligned") takes on the draft's mean colour about
    the mask, and is laid into the mask with a soft border.
    """
    done = []
    for draft, reference, mask in zip(batch.input, batch.reference, batch.mask[:, 0].numpy(), strict=True):
        here, there = (np.ascontiguousarray(one.permute(1, 2, 0).numpy()) for one in (draft, reference))
        there = cv2.resize(there, here.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        ring = (cv2.dilate(mask.astype(np.uint8), np.ones((2 * RING + 1,) * 2, np.uint8)) > 0) & ~mask
        if ring.any():
            there += here[ring].mean(axis=0) - there[ring].mean(axis=0)
        laid = paste_back(here, np.clip(there, 0, 255).astype(np.uint8), mask, FEATHER)
        done.append(torch.from_numpy(laid).permute(2, 0, 1).float() / 255)
    return torch.stack(done)


def read_run(run: Path, step: int | None = None) -> list[Line]:
    """Return what a run wrote of each held-out sample after a step, or after its last."""
    files = sorted((run / "pictures").glob("*.jsonl"))
    path = files[-1] if step is None else run / "pictures" / f"{step:06d}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_comparison(folder: Path, lines: Lines, products: Mapping[str, str], title: str) -> dict[str, Comparison]:
    """Write how refiners compare into a folder, and return it by the names of `PARTS`.

    comparison.json for machines, comparison.html for people: tables, plots, samples, on a page that loads nothing.
    """
    found = {part: compared(some, products) for part, some in in_parts(lines).items()}
    (folder / "comparison.json").write_text(
        json.dumps({part: asdict(one) for part, one in found.items()}, indent=1) + "\n"
    )
    sheets = sorted((folder / "grpo-0" / "pictures").glob("*.png")) or sorted(
        (folder / "sft-0" / "pictures").glob("*.png")
    )
    parts = "".join(
        f"<h2>{html.escape(PARTS[part][:1].upper() + PARTS[part][1:])}</h2>"
        f"<p>{one.samples} samples of {one.products} products.</p>"
        f"{_table(one.each)}<h3>Better by</h3>{_table(one.better)}{_picture(_plot(one))}"
        for part, one in found.items()
    )
    damage = "<h2>What is gained, by how far off the input was</h2>" + _picture(_plot_of_damage(lines, products))
    picture = _picture(sheets[-1].read_bytes()) if sheets else ""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>body{{font:15px system-ui;margin:2em auto;max-width:1000px}}"
        "td,th{padding:.2em .8em;text-align:right;white-space:nowrap;border-bottom:1px solid #ddd}</style>"
        f"<h1>{html.escape(title)}</h1><p>Means over products that none was trained on, and between what bounds 95% of "
        f"resamplings of the products lie.</p>{parts}{damage}{picture}"
    )
    (folder / "comparison.html").write_text(page)
    return found


def _inputs(values: Values) -> Values:
    return {
        product: {name.removesuffix("_input"): value for name, value in figures.items() if name.endswith("_input")}
        for product, figures in values.items()
    }


def _table(rows: Mapping[str, Mapping[str, Estimate]]) -> str:
    head = "".join(f"<th>{html.escape(FIGURES[figure])}</th>" for figure in FIGURES)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td>{told(found.get(figure))}</td>" for figure in FIGURES)
        + "</tr>"
        for name, found in rows.items()
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _picture(png: bytes) -> str:
    return f'<figure><img style="max-width:100%" src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>'


def _plot(comparison: Comparison) -> bytes:
    """Return dots and intervals of each refiner, a panel a figure, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    for at, (name, title) in enumerate(FIGURES.items()):
        axes = figure.add_subplot(1, len(FIGURES), at + 1)
        rows = [(who, found[name]) for who, found in comparison.each.items() if name in found]
        for row, (_, one) in enumerate(rows):
            if one.mean is not None:
                axes.plot(one.mean, row, "o", color="#1f5fa8")
            if one.low is not None and one.high is not None:
                axes.plot([one.low, one.high], [row, row], color="#1f5fa8")
        axes.set(title=title, yticks=range(len(rows)), yticklabels=[who for who, _ in rows])
    return _png(figure)


def _plot_of_damage(lines: Lines, products: Mapping[str, str]) -> bytes:
    """Return how much better than their inputs refiners are, by how far off these were, as a PNG.

    Where there are samples of one product alone nothing is drawn: how others would differ is not known.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    names = [f"under {DAMAGE[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(DAMAGE)), f"{DAMAGE[-1]:g} up"]
    parts = [between(lines, low, high) for low, high in pairwise((0.0, *DAMAGE, math.inf))]
    for nth, name in enumerate(name for name in ("blind", "sft", "grpo") if name in lines):
        found = [by_product(part[name], products) for part in parts]
        drawn = [
            (at + 0.2 * (nth - 1), one.mean, one.mean - one.low, one.high - one.mean)
            for at, here in enumerate(found)
            if (one := interval(here, "psnr", _inputs(here))) and one.mean is not None
            if one.low is not None and one.high is not None
        ]
        if drawn:
            places, means, below, above = zip(*drawn, strict=True)
            axes.errorbar(places, means, yerr=[below, above], fmt="o", label=name)
    ticks = [
        f"{name}\n{len({line['key'] for line in part['sft']})} samples" for name, part in zip(names, parts, strict=True)
    ]
    axes.axhline(0, color="#999", linewidth=1)
    axes.set(xlim=(-0.5, len(ticks) - 0.5), xticks=range(len(ticks)), xticklabels=ticks,
             xlabel="masked PSNR of the input, dB", ylabel="masked PSNR, dB more")  # fmt: skip
    figure.legend(loc="outside right upper")
    return _png(figure)


def _png(figure: Any) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()
