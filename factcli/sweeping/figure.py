"""A figure of a sweep's results: a panel for each label of one axis, a line for each of another."""

from pathlib import Path

from ..measuring.plots import save
from .cells import Cell, Runs, cell_of, labels_of
from .layout import FAILED_RUNS, Plot, there


def draw(runs: Runs, plot: Plot, file: Path) -> None:
    """The figure of a sweep file's section `plot`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    x, lines, panels, failed = plot.x, plot.lines, plot.panels, plot.kind == FAILED_RUNS
    runs = there(runs, plot.axes, plot.where)
    names = labels_of(runs, panels)
    figure = Figure(figsize=(max(4.0, 3.4 * len(names)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, panel in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        for line in labels_of(runs, lines):
            cells = [
                cell_of([r for r in runs if (r["labels"][x], r["labels"][lines], r["labels"][panels])
                         == (place, line, panel)], plot.score)
                for place in labels_of(runs, x)
            ]  # fmt: skip
            points = [
                (place, value, 0.0 if failed else plot.scale * (cell.deviation or 0.0))
                for place, cell in zip(labels_of(runs, x), cells, strict=True)
                if (value := _value(cell, plot.scale, failed)) is not None
            ]
            if points:
                places, values, spreads = zip(*points, strict=True)
                axis.errorbar(places, values, yerr=spreads, fmt="o-", capsize=3, label=line)
        axis.set_title(panel)
        axis.set_xlabel(x)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(fontsize="small")
    figure.axes[0].set_ylabel("failed runs (%)" if failed else plot.score.rpartition(".")[2])
    save(figure, file)


def _value(cell: Cell, scale: float, failed: bool) -> float | None:
    if failed:
        return 100 * cell.failed / cell.runs if cell.runs else None
    return scale * cell.mean if cell.mean is not None else None
