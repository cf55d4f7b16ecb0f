"""What a run tells of itself: metrics.jsonl, TensorBoard's events, pictures of what is held out, and curves.html."""

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from schemas.records import Pixels
from training.validate import Found, Tried

METRICS, CURVES, PICTURES, EVENTS = "metrics.jsonl", "curves.html", "pictures", "events"
SIDE = 128  # px of a picture in a sheet
TITLES = ("input", "reference", "refined", "target")
SMOOTH = 50  # steps that a curve of losses is the mean of
PAGE = Template("""<!doctype html><html lang="en"><meta charset="utf-8"><title>$title</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>body{font:15px system-ui;margin:2em auto;max-width:1100px;color:#222}figure{margin:0 0 2em}img{max-width:100%}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}</style>
<h1>$title</h1>$table$curves$sheet</html>
""")


class Journal:
    """A run's writer. Opened anew after `after` steps, it forgets what was written of later ones."""

    def __init__(self, run: Path, after: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self.run = run
        (run / PICTURES).mkdir(parents=True, exist_ok=True)
        path, unfinished = run / METRICS, run / f".{METRICS}"
        lines = [line for line in read_metrics(run) if line["step"] <= after]
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))
        unfinished.replace(path)
        for picture in (run / PICTURES).iterdir():
            if int(picture.stem) > after:
                picture.unlink()
        self._file = path.open("a")
        self._events = SummaryWriter(str(run / EVENTS), purge_step=after + 1)

    def write(self, step: int, **figures: float) -> None:
        """Write what a step came to."""
        self._add({"step": step, **figures})

    def validated(self, step: int, found: Found, shown: int = 8) -> None:
        """Write a validation: its figures, a line a sample, its sheet; and draw the curves anew."""
        self._add({"step": step, "validation": found.figures})
        lines = (json.dumps({"key": one.key, **one.figures}) + "\n" for one in found.samples)
        (self.run / PICTURES / f"{step:06d}.jsonl").write_text("".join(lines))
        sheet = draw_sheet(found.samples[:shown])
        if sheet is not None:
            Image.fromarray(sheet).save(self.run / PICTURES / f"{step:06d}.png")
            self._events.add_image("held out", sheet, step, dataformats="HWC")
        write_curves(self.run)

    def close(self) -> None:
        """Write all out."""
        self._file.close()
        self._events.close()
        write_curves(self.run)

    def _add(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        figures = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
        figures |= {f"validation/{name}": value for name, value in line.get("validation", {}).items()}
        for name, value in figures.items():
            self._events.add_scalar(name, value, line["step"])


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics; a last line that was cut short is left out."""
    path = run / METRICS
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def draw_sheet(samples: Sequence[Tried]) -> Pixels | None:
    """Return a sheet, a row a sample: input, reference, refined, target; None of no samples."""
    if not samples:
        return None
    rows = [np.hstack([_fitted(picture) for picture in one.pictures]) for one in samples]
    heading = Image.new("RGB", (rows[0].shape[1], 18), "white")
    for number, title in enumerate(TITLES):
        ImageDraw.Draw(heading).text((number * SIDE + 4, 3), title, fill="black")
    return np.asarray(np.vstack([np.asarray(heading), *rows]), np.uint8)


def write_curves(run: Path) -> None:
    """Draw a run's metrics as curves, with the newest figures and sheet, into one page that loads nothing."""
    lines = read_metrics(run)
    losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    tried = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    title = html.escape(f"Run {run.name}")
    sheets = sorted((run / PICTURES).glob("*.png"))
    sheet = ""
    if sheets:
        data = base64.b64encode(sheets[-1].read_bytes()).decode()
        picture = f'<figure><img alt="samples" src="data:image/png;base64,{data}"></figure>'
        sheet = f"<h2>Held out, after step {int(sheets[-1].stem)}</h2>{picture}"
    table = ""
    if tried:
        step, figures = tried[-1]
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{value:.3f}</td></tr>" for name, value in figures.items())
        table = f"<h2>Held out, after step {step}</h2><table>{cells}</table>"
    unfinished = run / f".{CURVES}"
    unfinished.write_text(PAGE.substitute(title=title, table=table, curves=_drawn(losses, tried), sheet=sheet))
    unfinished.replace(run / CURVES)


def _drawn(losses: list[tuple[int, float]], tried: list[tuple[int, dict[str, float]]]) -> str:
    from matplotlib.figure import Figure

    names = [name for name in ("psnr", "likeness", "background") if any(name in figures for _, figures in tried)]
    figure = Figure(figsize=(11, 3.2 * (1 + math.ceil(len(names) / 3))), layout="constrained")
    grid = figure.add_gridspec(1 + math.ceil(len(names) / 3), 3)
    axes = figure.add_subplot(grid[0, :])
    steps, values = [step for step, _ in losses], [loss for _, loss in losses]
    axes.plot(steps, values, color="#cccccc", linewidth=0.8)
    smooth = [float(np.mean(values[max(0, at - SMOOTH) : at + 1])) for at in range(len(values))]
    axes.plot(steps, smooth, color="#1f5fa8", linewidth=1.5)
    axes.set(title="loss", xlabel="step", yscale="log" if values and min(values) > 0 else "linear")
    for at, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + at // 3, at % 3])
        for suffix, colour, label in (("", "#1f5fa8", "refined"), ("_input", "#c0562b", "input")):
            points = [(step, figures[name + suffix]) for step, figures in tried if name + suffix in figures]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=label)
        axes.set(
            title={"psnr": "masked PSNR, dB", "background": "PSNR outside the mask, dB"}.get(name, name), xlabel="step"
        )
        axes.legend()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"


def _fitted(picture: Pixels) -> Pixels:
    """Return a picture brought into a square of SIDE px, on white."""
    scale = SIDE / max(picture.shape[:2])
    small = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    square[: small.shape[0], : small.shape[1]] = small[:SIDE, :SIDE]
    return square
