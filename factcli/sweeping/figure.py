"""A figure of a sweep's results: a panel for each label of one axis, a line for each of another."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..measuring.plots import save
from .cells import Cell, Runs, cell_of, labels_of

if TYPE_CHECKING:
    from .report import Layout

_KEYS = ("x", "lines", "panels", "kind", "where")


def draw(runs: Runs, asked: Mapping[str, Any], layout: "Layout", file: Path) -> None:
    """By the section `plot` of a sweep file: `x`, `lines` and `panels` are axes (by default those of the first table),
    `kind` is score or failed, `where` are labels. Raises UsageError for an axis that no run has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name in asked:
        if name not in _KEYS:
            near = get_close_matches(name, _KEYS, n=1)
            raise UsageError(
                f"The plot has an unknown key {name!r}" + (f": did you mean {near[0]!r}?" if near else ".")
            )
    x, lines = asked.get("x", layout.rows[0]), asked.get("lines", layout.rows[-1])
    panels, failed = asked.get("panels", layout.columns), asked.get("kind", layout.kind) == "failed"
    where = asked.get("where", layout.where)
    there = [run for run in runs if {x, lines, panels} <= run["labels"].keys() and all(
        run["labels"].get(axis) in {str(v) for v in (value if isinstance(value, list) else [value])}
        for axis, value in where.items())]  # fmt: skip
    if not there:
        raise UsageError(f"The plot's axes {x}, {lines} and {panels} are in no run.")
    names = labels_of(there, panels)
    figure = Figure(figsize=(max(4.0, 3.4 * len(names)), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, panel in zip(figure.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        for line in labels_of(there, lines):
            cells = [
                cell_of([r for r in there if (r["labels"][x], r["labels"][lines], r["labels"][panels])
                         == (place, line, panel)], layout.score)
                for place in labels_of(there, x)
            ]  # fmt: skip
            points = [
                (place, value, 0.0 if failed else layout.scale * (cell.deviation or 0.0))
                for place, cell in zip(labels_of(there, x), cells, strict=True)
                if (value := _value(cell, layout.scale, failed)) is not None
            ]
            if points:
                places, values, spreads = zip(*points, strict=True)
                axis.errorbar(places, values, yerr=spreads, fmt="o-", capsize=3, label=line)
        axis.set_title(panel)
        axis.set_xlabel(x)
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.legend(fontsize="small")
    figure.axes[0].set_ylabel("failed runs (%)" if failed else layout.score.rpartition(".")[2])
    save(figure, file)


def _value(cell: Cell, scale: float, failed: bool) -> float | None:
    if failed:
        return 100 * cell.failed / cell.runs if cell.runs else None
    return scale * cell.mean if cell.mean is not None else None
