"""Rank and precision of each matrix chosen together, against a rank for each and 8 bits for all.

    python benchmarks/rank_precision.py --data-dir GLUE [--tasks reviews mrpc sst2] [--keeps 0.1 0.25 0.5] [--work DIR]
        [--results recipes/results]

all-MiniLM-L6-v2 fine-tuned as for whole_model.py (a model that stands in WORK/TASK/dense is taken as it is). Errors are
those of kfac, twice the rise of the loss to second order, on the task's own texts; that of rounding is measured as any
other, on the matrix that the rounded numbers give. Each linear layer may be dense in float32, dense in 8 bits (as
OpenVINO and ONNX hold weights: symmetric, a scale for each row), or of one of RANKS ranks with factors in 8 bits or
float32. Apart: all in 8 bits, ranks by global allocation. Together: of every layer what leaves the least summed error
in as many bytes. Both choose from the same ranks by one Lagrange multiplier.

Writes RESULTS/rank-precision.md and .json: both errors, as shares of the error of leaving nothing, what rounding adds
to the error apart, and what together takes of each kind.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from criteria_accuracy import Bench
from torch import Tensor

from factcli.compress.measured import measure
from factcli.compress.structures import structures
from factcli.files.atomic import write_text
from factcli.models.loading import load_model
from factcli.models.model import find_model
from factcli.models.targets import find_targets, matrix
from factcli.recipe.factorizing import Recipe

RANKS = 24  # of each layer, from 2 % of its largest to break-even
KINDS = ("rank in 8 bits", "dense in 8 bits", "rank in float32", "dense in float32")


@dataclass(frozen=True)
class Choice:
    """What a layer may become: its bytes and its error; without rounding for what that is, None for float32."""

    kind: str
    bytes: int
    error: float
    unrounded: float


def rounded(w: Tensor) -> Tensor:
    """`w` (m, n) as 8 bits hold it, with a scale for each row."""
    scale = w.abs().amax(1, keepdim=True).clamp_min(1e-30) / 127
    return (w / scale).round().clamp(-127, 127) * scale


def choices(w: Tensor, norm: Any) -> Iterator[Choice]:
    """All of a linear layer (m, n)."""
    structure, size = structures["low-rank"].made(Recipe(keep=0.5)), w.numel()
    most = int(structure.break_even((w.shape[0], w.shape[1]))) - 1
    for step in range(RANKS):
        rank = max(1, round(most * (step + 1) / RANKS))
        tensors = structure.project(w, structure.spec(rank), norm)
        count = structure.parameters((w.shape[0], w.shape[1]), rank)
        exact = norm.error(structure.dense(tensors) - w)
        coarse = norm.error(structure.dense({name: rounded(t) for name, t in tensors.items()}) - w)
        yield Choice(KINDS[0], count, coarse, exact)
        yield Choice(KINDS[2], 4 * count, exact, exact)
    yield Choice(KINDS[1], size, norm.error(rounded(w) - w), 0.0)
    yield Choice(KINDS[3], 4 * size, 0.0, 0.0)


def best(layers: list[list[Choice]], budget: float) -> list[Choice]:
    """One of each layer, of the least summed error in at most `budget` bytes, along the lower convex hulls."""
    low, high = 0.0, 1e12
    for _ in range(200):
        price = (low * high) ** 0.5 if low else high * 1e-6
        taken = [min(layer, key=lambda c: c.error + price * c.bytes) for layer in layers]
        low, high = (low, price) if sum(c.bytes for c in taken) <= budget else (price, high)
        if low and high / low < 1 + 1e-9:
            break
    return [min(layer, key=lambda c: c.error + high * c.bytes) for layer in layers]


@torch.no_grad()
def compare(dense: Path, calibration: str, data_dir: str | None, keeps: list[float]) -> list[dict[str, Any]]:
    """A row for each share of the parameters."""
    source = find_model(str(dense))
    loaded = load_model(source)
    recipe = Recipe(keep=0.5, criterion="kfac", allocation="global", calibration=calibration)
    measured = measure(source, loaded, recipe, data_dir=data_dir)
    targets = find_targets(loaded.model.base_model)
    layers, nothing = [], 0.0
    for target in targets:
        w = matrix(loaded.model.base_model.get_submodule(target.name)).double()
        norm = measured.norm(target, w)
        layers.append(list(choices(w, norm)))
        nothing += norm.error(w)
    found = []
    for keep in keeps:
        apart = best(
            [[c for c in layer if c.kind in KINDS[:2]] for layer in layers], keep * sum(t.size for t in targets)
        )
        together = best(layers, sum(c.bytes for c in apart))
        errors = [sum(c.error for c in taken) for taken in (apart, together)]
        found.append(
            {
                "keep": keep,
                "bytes": [sum(c.bytes for c in taken) for taken in (apart, together)],
                "apart": errors[0] / nothing,
                "rounding": errors[0] / sum(c.unrounded for c in apart) - 1,
                "together": errors[1] / nothing,
                "less": 1 - errors[1] / errors[0],
                "kinds": {kind: sum(c.kind == kind for c in together) for kind in KINDS},
            }
        )
    return found


def table(entries: list[dict[str, Any]]) -> list[str]:
    lines = ["| task | kept | error apart | of it rounding | error together | less | " + " | ".join(KINDS) + " |"]
    lines.append("|---" * (6 + len(KINDS)) + "|")
    for e in entries:
        cells = [e["task"], f"{e['keep']:g}", f"{e['apart']:.5f}", f"{100 * e['rounding']:.2f} %"]
        cells += [f"{e['together']:.5f}", f"{100 * e['less']:.2f} %", *(str(n) for n in e["kinds"].values())]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=["reviews", "mrpc", "sst2"])
    parser.add_argument("--keeps", nargs="+", type=float, default=[0.1, 0.25, 0.5])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        entries = []
        for task in args.tasks:
            bench = Bench(task, args.work or Path(folder), args.results, args.data_dir, "float32")
            data_dir = args.data_dir if bench.calibration == task else None
            entries += [{"task": task} | e for e in compare(bench.dense(), bench.calibration, data_dir, args.keeps)]
    text = [
        "# Rank and precision, together and apart", "",
        "Linear layers of all-MiniLM-L6-v2, equal bytes; errors in the norm of kfac as shares of that of leaving",
        "nothing; the last columns count layers. Made by `benchmarks/rank_precision.py`.", "", *table(entries),
    ]  # fmt: skip
    write_text(args.results / "rank-precision.json", json.dumps(entries, indent=1) + "\n")
    write_text(args.results / "rank-precision.md", "\n".join(text) + "\n")
    print("\n".join(table(entries)))


if __name__ == "__main__":
    main()
