"""The picture of `frontier`: score against megabytes and against milliseconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipe.values import WAYS
from .plots import best_of, place_labels, save

_INK, _GRID, _PAPER = "#1f2430", "#e3e6ea", "#ffffff"
_PANELS = (("bytes", "megabytes of the file", 1e6), ("milliseconds", "milliseconds", 1.0))
_ROOM = 0.12  # of the height, above and below what is shown
LOST = 0.2  # of the dense model's score: what lost more is drawn at the lower edge
MOST_NAMES = 5
_MORE = {"kfac-embeddings": " with embeddings", "kfac-vocabulary": " with vocabulary"}


@dataclass(frozen=True)
class Family:
    """Rows that are drawn alike: `ways` of one kind."""

    said: str
    colour: str
    marker: str
    ways: tuple[str, ...]
    healed: bool = False


FAMILIES = (
    Family("dense", "#1f2430", "s", ("dense",)),
    Family("factorized (kfac)", "#2a7fd4", "o", WAYS[1:4]),
    Family("factorized (kfac), healed", "#0b3d91", "o", WAYS[1:4], True),
    Family("fewer layers", "#f0a04b", "^", ("layers",)),
    Family("fewer layers, healed", "#c2571a", "^", ("layers",), True),
    Family("plain SVD", "#a9b0ba", "D", ("svd",)),
)


def plot_ways(result: dict[str, Any], path: Path) -> None:
    """What `frontier` returns, a panel for each cost. A line joins the rows of a family that no other of it beats, the
    others are pale; int8 is filled; some of those are named that nothing beats. Scores far below the rest are drawn at
    the lower edge, as such."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, dense = result["results"], result["results"][0]
    bottom, top = _heights(rows)
    figure = Figure(figsize=(12.5, 5.4), layout="constrained", facecolor=_PAPER)
    FigureCanvasAgg(figure)
    for axis, (key, label, unit) in zip(figure.subplots(1, 2, sharey=True), _PANELS, strict=True):
        shown = [r for r in rows if r[key] is not None]
        _frame(axis, label if key == "bytes" else f"{label}, {result['batch_size']} x {result['sequence_length']}")
        axis.set_ylim(bottom, top)
        if shown:
            axis.set_xscale("log")
        axis.axhline(dense["score"], color=_INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        for family in FAMILIES:
            _draw(axis, family, [r for r in shown if _in(family, r)], key, unit, bottom)
        named = [
            (_name(r), r[key] / unit, r["score"])
            for r in shown
            if r["optimal"][key] and r["score"] >= bottom and r["way"] != "dense"
        ]
        _ticks(axis, [r[key] / unit for r in shown])
        place_labels(axis, _thinned(named), [(r[key] / unit, max(r["score"], bottom)) for r in shown])
    left = figure.axes[0]
    left.set_ylabel(result["metric"], color=_INK)
    handles: list[Any] = [handle for axis in figure.axes for handle in axis.get_legend_handles_labels()[0]]
    by_name = {handle.get_label(): handle for handle in handles}
    figure.legend(list(by_name.values()), list(by_name), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    figure.suptitle(
        f"{Path(result['model']).name}: filled is int8, a dashed line the dense model", fontsize=11, color=_INK
    )
    save(figure, path)


def _in(family: Family, row: dict[str, Any]) -> bool:
    return row["way"] in family.ways and row["healed"] == family.healed


def _name(row: dict[str, Any]) -> str:
    """As the picture calls a row whose family its colour tells."""
    runtime = {"torch": "PyTorch", "onnx": "ONNX", "openvino": "OpenVINO"}.get(row["backend"], row["backend"])
    precision = "" if row["precision"] == "float32" else f" {row['precision']}"
    said = row["said"] if row["keep"] is None else f"{row['keep']:g}"
    return f"{said}{_MORE.get(row['way'], '')}, {runtime}{precision}"


def _heights(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """The lowest and the highest score that are shown: from the dense model down to what counts, which plain SVD, and
    what lost more than LOST of the dense model's score, do not."""
    dense = rows[0]["score"]
    counted = [r["score"] for r in rows if r["way"] != "svd" and r["score"] >= dense - LOST * abs(dense)] or [dense]
    spread = max(max(counted) - min(counted), 0.02)
    return min(counted) - _ROOM * spread, max(*counted, dense) + 2 * _ROOM * spread


def _draw(axis: Any, family: Family, rows: list[dict[str, Any]], key: str, unit: float, bottom: float) -> None:
    """The dots of a family, and a line through its best."""
    label = family.said
    seen = [(r[key] / unit, r["score"], r["precision"] == "int8") for r in rows if r["score"] >= bottom]
    best = best_of([(x, y) for x, y, _ in seen], 1)
    if len(best) > 1:
        axis.plot(*zip(*best, strict=True), "-", color=family.colour, linewidth=1.6, alpha=0.8, zorder=2)
    for x, y, filled in sorted(seen, key=lambda dot: dot[:2] not in best):
        axis.plot([x], [y], family.marker, color=family.colour, markersize=7, markeredgewidth=1.3, label=label,
                  markerfacecolor=family.colour if filled else _PAPER, **({"zorder": 3} if (x, y) in best else
                                                                          {"zorder": 2, "alpha": 0.3}))  # fmt: skip
        label = "_"
    for r in rows:
        if r["score"] < bottom:
            axis.plot([r[key] / unit], [bottom], "v", color=family.colour, markersize=7, clip_on=False, zorder=3,
                      label=label if label == "_" else f"{family.said} (▾ lower)")  # fmt: skip
            label = "_"


def _frame(axis: Any, label: str) -> None:
    axis.set_facecolor(_PAPER)
    axis.set_xlabel(label, color=_INK)
    axis.grid(color=_GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=_INK, labelsize=9)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#b9bec6")


def _ticks(axis: Any, values: list[float]) -> None:
    """Plain numbers on the logarithmic axis: 1, 2, 5, 10 and so on, and room at either end for names."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if not values:
        return
    low, high = min(values) / 1.35, max(values) * 1.35
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(FixedLocator([m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5)]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _thinned(named: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """At most MOST_NAMES of the names, each once, the two ends and between them those that are the furthest apart."""
    named = sorted({point[0]: point for point in named}.values(), key=lambda point: point[1])
    step = max(1.0, (len(named) - 1) / (MOST_NAMES - 1))
    return [named[i] for i in sorted({round(k * step) for k in range(MOST_NAMES)} & set(range(len(named))))]
