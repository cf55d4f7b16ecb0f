"""What a run tells of itself: metrics.jsonl, TensorBoard's events, pictures of what is held out, and curves.html."""

import base64
import html
import io
import json
import math
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from schemas.records import Pixels
from training.sheets import draw_sheet
from training.validate import Found

METRICS, CURVES, PICTURES, GROUPS, EVENTS = "metrics.jsonl", "curves.html", "pictures", "groups", "events"
RUNNING = {  # what is drawn of each step, and how it is called
    "loss": "loss", "reward": "reward", "reward_dreamsim": "reward: DreamSim",
    "reward_lpips": "reward: LPIPS, for DreamSim", "reward_embedder": "reward: embedder, for DreamSim",
    "reward_pixels": "reward: pixels",
    "kl": "KL", "clipped": "share of clipped ratios", "lost": "lost outside the mask (0.23: a dB)",
    "hold": "weight of that", "guard_outside": "PSNR outside the mask, dB",
    "guard_sharpness": "sharpness, of the truth's", "guard_grid": "grid of tokens", "guard_copied": "copied reference",
    "guard_diversity": "diversity in a group",
}  # fmt: skip
TRIED = {  # the same of what is held out
    "psnr": "masked PSNR, dB", "likeness": "likeness", "background": "PSNR outside the mask, dB", "reward": "reward",
}  # fmt: skip
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
        lines = [line for line in read_metrics(run) if line["step"] <= after] if after else []
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))
        unfinished.replace(path)
        for picture in (*(run / PICTURES).iterdir(), *(run / GROUPS).glob("*")):
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

    def grouped(self, step: int, sheet: Pixels) -> None:
        """Keep a sheet of groups that were sampled for a step."""
        (self.run / GROUPS).mkdir(exist_ok=True)
        Image.fromarray(sheet).save(self.run / GROUPS / f"{step:06d}.png")
        self._events.add_image("groups", sheet, step, dataformats="HWC")

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


def write_curves(run: Path) -> None:
    """Draw a run's metrics as curves, with the newest figures and sheets, into one page that loads nothing."""
    lines = read_metrics(run)
    tried = [(line["step"], line["validation"]) for line in lines if "validation" in line]
    steps = [line for line in lines if "validation" not in line]
    title = html.escape(f"Run {run.name}")
    table = ""
    if tried:
        step, figures = tried[-1]
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{value:.3f}</td></tr>" for name, value in figures.items())
        table = f"<h2>Held out, after step {step}</h2><table>{cells}</table>"
    sheets = _newest(run / PICTURES, "Held out, after step") + _newest(run / GROUPS, "Groups, sampled for step")
    unfinished = run / f".{CURVES}"
    unfinished.write_text(PAGE.substitute(title=title, table=table, curves=_drawn(steps, tried), sheet=sheets))
    unfinished.replace(run / CURVES)


def _newest(folder: Path, title: str) -> str:
    """Return the newest sheet of a folder, with a heading."""
    sheets = sorted(folder.glob("*.png"))
    if not sheets:
        return ""
    data = base64.b64encode(sheets[-1].read_bytes()).decode()
    picture = f'<figure><img alt="samples" src="data:image/png;base64,{data}"></figure>'
    return f"<h2>{title} {int(sheets[-1].stem)}</h2>{picture}"


def _drawn(steps: list[dict[str, Any]], tried: list[tuple[int, dict[str, float]]]) -> str:
    """Return curves as SVG: of each step (loss; rewards and guards of GRPO), and of what was tried."""
    from matplotlib.figure import Figure

    running = [name for name in RUNNING if any(name in line for line in steps)]
    held_out = [name for name in TRIED if any(name in figures for _, figures in tried)]
    rows = math.ceil((len(running) + len(held_out)) / 3)
    figure = Figure(figsize=(11, 3.2 * max(1, rows)), layout="constrained")
    for at, name in enumerate(running):
        axes = figure.add_subplot(max(1, rows), 3, at + 1)
        points = [(line["step"], line[name]) for line in steps if name in line]
        values = [value for _, value in points]
        axes.plot([step for step, _ in points], values, color="#cccccc", linewidth=0.8)
        smooth = [float(np.mean(values[max(0, at - SMOOTH) : at + 1])) for at in range(len(values))]
        axes.plot([step for step, _ in points], smooth, color="#1f5fa8", linewidth=1.5)
        scale = "log" if name in ("loss", "hold") and min(values) > 0 else "linear"
        axes.set(title=RUNNING[name], xlabel="step", yscale=scale)
    for at, name in enumerate(held_out, len(running)):
        axes = figure.add_subplot(rows, 3, at + 1)
        for suffix, colour, label in (("", "#1f5fa8", "refined"), ("_input", "#c0562b", "input")):
            points = [(step, figures[name + suffix]) for step, figures in tried if name + suffix in figures]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=label)
        axes.set(title=f"held out: {TRIED[name]}", xlabel="step")
        axes.legend()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}</figure>"
