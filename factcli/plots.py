"""Plots, with matplotlib (an optional extra: pip install 'factcli[plot]')."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FactcliError

_SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path) -> None:
    """Raises FactcliError where a plot could not be written to `path`."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FactcliError("--plot needs matplotlib: pip install 'factcli[plot]'.") from error
    if path.suffix.lower() not in _SUFFIXES:
        raise FactcliError(f"--plot {path} must end in {', '.join(_SUFFIXES)}.")
    if not path.absolute().parent.is_dir():
        raise FactcliError(f"{path.absolute().parent} is not a directory: make it, or choose another --plot.")


def plot_errors(result: dict[str, Any], path: Path) -> None:
    """Relative reconstruction error against the number of singular values, a panel for each kind of matrix and a line
    for each layer (as in figure 5 of Gupta et al. 2024), for plain SVD and, dashed, for kfac in its own metric."""
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
            for criterion, style in (("frobenius", "-"), ("kfac", "--")):
                if criterion in layer["errors"]:
                    label = {"frobenius": "SVD", "kfac": "kfac, own metric"}[criterion] if depth == 1 else None
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
    figure.savefig(path, dpi=150)
