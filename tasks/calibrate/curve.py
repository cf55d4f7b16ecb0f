"""The curve of precision over recall, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.calibrate.pairs import Rates


def draw_curve(curves: Mapping[str, Sequence[Rates]], cut: float, precision: float, out: Path) -> None:
    """Draw curves by name as one PNG: precision over recall, the cut in force marked, the wanted precision lined."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, steps in curves.items():
        shown = [(step.recall[0], step.precision[0], step.cut) for step in steps if step.recall and step.precision]
        (line,) = axes.plot([r for r, _, _ in shown], [p for _, p, _ in shown], label=name, linewidth=1.8)
        accepted = [(r, p) for r, p, at in shown if at >= cut]
        if accepted:
            axes.plot(*accepted[-1], "o", color=line.get_color(), markersize=8)
    axes.axhline(precision, color="grey", linewidth=0.8, linestyle="--")
    axes.set(
        xlabel="recall: of all true pairs", ylabel="precision: of accepted pairs", xlim=(0, 1.01), ylim=(0.5, 1.01)
    )
    axes.set_title(f"Pairs of one product; dots: the cut in force, {cut:g}", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", frameon=False)
    figure.savefig(out)
