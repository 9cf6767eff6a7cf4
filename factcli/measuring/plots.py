"""Plots, with matplotlib (an optional extra: pip install 'factcli[plot]')."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FactcliError, Lacking, UsageError
from ..files.atomic import whole

_SUFFIXES = (".png", ".svg", ".pdf")
COST_SUFFIXES = (".png", ".svg")
_MADE_BY = "factcli, with Matplotlib"


def check_plot(
    path: Path, suffixes: tuple[str, ...] = _SUFFIXES, every: bool = False, made: str | Path | None = None
) -> None:
    """Raises FactcliError where a plot could not be written to `path` (with `every`: to all of `suffixes`), or would
    take the place of what is no plot, UsageError for another kind of file. `made` is a directory that is there by
    then."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Lacking("--plot needs matplotlib: pip install 'factcli[plot]'.") from error
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"--plot {path} must end in {', '.join(suffixes)}.")
    folder = path.absolute().parent
    if made is not None and folder == Path(made).absolute() and not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise FactcliError(f"{folder} is not a directory: make it, or choose another --plot.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FactcliError(f"{folder} is not writable: choose another --plot.")
    for file in [path.with_suffix(suffix) for suffix in suffixes] if every else [path]:
        if os.path.lexists(file) and not _is_plot(file):
            raise FactcliError(f"{file} is there and is no plot of factcli's: choose another --plot.")


def _is_plot(file: Path) -> bool:
    """Whether `save` made a file: it says so in every format."""
    try:
        return file.is_file() and _MADE_BY.encode() in file.read_bytes()
    except OSError:
        return False


def save(figure: Any, path: Path) -> None:
    """Raises FactcliError where it cannot be written."""
    try:
        with whole(path) as part:
            kind = path.suffix[1:].lower()
            made = {"Software" if kind == "png" else "Creator": _MADE_BY}
            figure.savefig(part, dpi=150, format=kind, metadata=made)
    except OSError as error:
        raise FactcliError(f"{path} cannot be written ({error.strerror}): choose another --plot.") from error


def plot_errors(result: dict[str, Any], path: Path) -> None:
    """Relative reconstruction error against the number of singular values, a panel for each kind of matrix and a line
    for each layer (as in figure 5 of Gupta et al. 2024), for plain SVD and, dashed, for the criterion that it is
    compared with, in that one's norm."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    kinds: dict[str, list[dict[str, Any]]] = {}
    for layer in result["layers"]:
        kinds.setdefault(re.sub(r"\.\d+\.", ".*.", layer["name"]), []).append(layer)
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    deepest = max(len(layers) for layers in kinds.values())
    colours = ScalarMappable(Normalize(1, max(deepest, 2)), "viridis")
    for axis, (kind, layers) in zip(axes, kinds.items(), strict=False):
        for depth, layer in enumerate(layers, 1):
            for criterion, style in zip(result["compared"], ("-", "--"), strict=False):
                label = f"{criterion}, own norm" if depth == 1 else None
                points = [0, *layer["ranks"]], [1.0, *layer["errors"][criterion]]
                axis.plot(*points, style, color=colours.to_rgba(np.array(float(depth))), linewidth=1, label=label)
        m, n = layers[0]["shape"]
        axis.axvline(m * n / (m + n), color="grey", linewidth=0.8, linestyle=":")
        axis.set_title(f"{kind.split('.*.')[-1]} ({m} x {n})", fontsize=9)
        axis.set_ylim(0, 1)
        axis.set_xlabel("singular values (dotted: break-even)", fontsize=8)
    for axis in axes[len(kinds) :]:
        axis.set_visible(False)
    axes[0].set_ylabel("relative error", fontsize=8)
    axes[0].legend(fontsize=8)
    figure.colorbar(colours, ax=list(axes), label="layer", shrink=0.6)
    save(figure, path)


def plot_costs(result: dict[str, Any], path: Path) -> None:
    """Latency and accuracy against parameters, a panel each, from what bench returns. Lines join the models that no
    other beats in both. Written as PNG and as SVG, whichever of both `path` names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    latencies: dict[str, list[tuple[str, float, float]]] = {}
    accuracies: dict[str, dict[tuple[str, float, float], None]] = {}  # in every cell the same, once each
    centre = "mean" if result["protocol"] == "paper" else "median"
    for r in result["results"]:
        name, millions = Path(r["model"]).name, r["parameters"] / 1e6
        cell = f"{r['batch_size']} x {r['sequence_length']} tokens, {r['variant']}"
        latencies.setdefault(cell, []).append((name, millions, r["latency_ms"][centre]))
        for task, accuracy in r["accuracy"].items():
            accuracies.setdefault(task, {})[name, millions, accuracy] = None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for cell, points in latencies.items():
        _front(left, points, cell, better=-1)
    for task, found in accuracies.items():
        _front(right, list(found), task, better=1)
    left.set_yscale("log")
    left.set_ylabel(f"latency, {centre} (ms)")
    left.set_title(f"{result['device_name'] or result['device']}, {result['threads']} threads", fontsize=9)
    right.set_ylabel("accuracy")
    without = dict.fromkeys(Path(r["model"]).name for r in result["results"] if not r["accuracy"])
    right.set_title("without eval_results.json: " + ", ".join(without) if without else "", fontsize=9, wrap=True)
    for axis in (left, right):
        axis.set_xlabel("parameters (millions)")
        axis.grid(alpha=0.3)
        if axis.has_data():
            axis.margins(0.15)
            axis.legend(fontsize=8)
    for suffix in COST_SUFFIXES:
        save(figure, path.with_suffix(suffix))


def plot_frontier(result: dict[str, Any], path: Path) -> None:
    """Accuracy against megabytes of the files and against milliseconds, a panel each, of models as several backends run
    them. A line joins those that no other beats in both; dense ones are squares, int8 ones are filled. Written as
    `plot_costs` is; without any accuracy it is latency against megabytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    centre = "mean" if result["protocol"] == "paper" else "median"
    first = result["results"][0]
    cell = (first["batch_size"], first["sequence_length"])
    shown = [r for r in result["results"] if (r["batch_size"], r["sequence_length"]) == cell and not r["baseline"]]
    task = next((name for r in shown for name in r["accuracy"]), None)
    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 if task else 1, squeeze=False)[0]
    milliseconds = f"latency, {centre} (ms), {cell[0]} x {cell[1]} tokens"
    for axis, (label, key) in zip(panels, (("megabytes", "MB"), (milliseconds, "ms")), strict=False):
        marks = []
        for r in shown:
            x = r["bytes"] / 1e6 if key == "MB" else r["latency_ms"][centre]
            y = r["accuracy"].get(task) if task else r["latency_ms"][centre]
            if y is not None:
                name = " ".join(filter(None, (Path(r["model"]).name, r["backend"], r["precision"])))
                marks.append((name, x, y, r["factorized"], r["precision"] == "int8"))
        axis.set_xlabel(label)
        axis.set_ylabel(f"accuracy, {task}" if task else milliseconds)
        axis.grid(alpha=0.3)
        axis.margins(0.2)
        for _, x, y, factorized, filled in marks:
            colour = "tab:blue" if factorized else "tab:orange"
            axis.plot([x], [y], "o" if factorized else "s", color=colour, markerfacecolor=colour if filled else "white")
        best = best_of([(x, y) for _, x, y, *_ in marks], 1 if task else -1)
        axis.plot(*zip(*best, strict=True), "-", color="grey", linewidth=1, zorder=0)
        place_labels(axis, [(name, x, y) for name, x, y, *_ in marks])
    panels[0].set_title("circles: factorized, squares: dense, filled: int8", fontsize=9)
    for suffix in COST_SUFFIXES:
        save(figure, path.with_suffix(suffix))


def place_labels(axis: Any, points: list[tuple[str, float, float]], others: Sequence[tuple[float, float]] = ()) -> None:
    """Names beside their dots: where they meet neither each other nor a dot, nor one of `others`, within the frame."""
    from matplotlib.patheffects import withStroke

    figure = axis.figure
    figure.canvas.draw()
    frame = axis.get_window_extent()
    dots = [tuple(axis.transData.transform(dot)) for dot in (*((x, y) for _, x, y in points), *others)]
    taken: list[Any] = []
    for name, x, y in points:
        text = axis.annotate(name, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=7)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])  # over lines
        for away in (6, 14, 24, 36, 50, 66):
            for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                text.set_ha("left" if right > 0 else "right" if right < 0 else "center")
                text.set_va("bottom" if up > 0 else "top" if up < 0 else "center")
                text.set_position((right * away, up * away))
                box = text.get_window_extent().expanded(1.02, 1.1)
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                met = any(box.overlaps(other) for other in taken) or any(box.contains(*dot) for dot in dots)
                if inside and not met:
                    break
            else:
                continue
            break
        taken.append(text.get_window_extent())
        if away > 6:  # so far that a line says whose it is
            axis.annotate(
                "", (x, y), xytext=text.get_position(), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "grey"},
            )  # fmt: skip


def _front(axis: Any, points: list[tuple[str, float, float]], label: str, better: int) -> None:
    """(name, x, y) as named dots, and a line through those with no smaller x at as good a y (`better` 1: upwards)."""
    (dots,) = axis.plot([x for _, x, _ in points], [y for *_, y in points], "o", markersize=5)
    for name, x, y in points:
        axis.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    best = best_of([(x, y) for _, x, y in points], better)
    axis.plot(*zip(*best, strict=True), "-", color=dots.get_color(), linewidth=1, label=label)


def best_of(points: list[tuple[float, float]], better: int) -> list[tuple[float, float]]:
    """Those with no smaller x at as good a y."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -better * p[1])):
        if not best or better * y > better * best[-1][1]:
            best.append((x, y))
    return best
