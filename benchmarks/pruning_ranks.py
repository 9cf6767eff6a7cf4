"""Numerical rank against density: what movement and magnitude pruning leave of a real encoder, and how well it does.

    python benchmarks/pruning_ranks.py MODEL --data-dir GLUE [--task mrpc] [--densities 0.4 0.2 0.1 0.05]
        [--max-steps 230] [--precision float32] [--results recipes/results] [--work DIR]

Ren and Zhu 2024 build on movement pruning leaving matrices of low rank where magnitude pruning does not. MODEL, fine-
tuned on the task, is pruned further by `factcli finetune --prune` to every density, `factcli diagnose` gives the
numerical rank of every target. The results, with command, versions and date, go into RESULTS/NAME-pruning-TASK.json as
soon as they are there (runs that stand in the file are skipped), table and plot are written anew.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import runs

import factcli
from factcli.files.atomic import write_text
from factcli.recipe.fields import declared
from factcli.recipe.training import Prune

PRUNINGS = tuple(declared(Prune)["prune"].about.known)


def table(entries: list[dict[str, Any]], name: str, task: str) -> str:
    lines = [
        f"# What pruning leaves of {name} ({task})",
        "",
        "Numerical rank (singular values above float32's rounding) over the full rank, mean over the targets; accuracy",
        "on validation data. Made by `benchmarks/pruning_ranks.py`; commands, versions and dates are in the JSON file.",
        "",
        "| density | " + " | ".join(f"{m}: rank | accuracy" for m in PRUNINGS) + " |",
        "|---" * (1 + 2 * len(PRUNINGS)) + "|",
    ]
    for density in sorted({e["density"] for e in entries}, reverse=True):
        cells = []
        for method in PRUNINGS:
            found = [e for e in entries if (e["prune"], e["density"]) == (method, density)]
            cells.append(f"{found[0]['rank']:.3f} | {100 * found[0]['accuracy']:.1f}" if found else " | ")
        lines.append(f"| {density:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(entries: list[dict[str, Any]], file: Path, title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, value, label in zip(
        figure.subplots(1, 2), ("rank", "accuracy"), ("numerical rank over full rank", "accuracy"), strict=True
    ):
        for method in PRUNINGS:
            points = sorted((e["density"], e[value]) for e in entries if e["prune"] == method)
            axis.plot(*zip(*points, strict=True), "o-", label=method)
        axis.set_xscale("log")
        axis.set_xlabel("density")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--name", default="all-MiniLM-L6-v2", help="how results call the model")
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--densities", nargs="+", type=float, default=[0.4, 0.2, 0.1, 0.05])
    parser.add_argument("--max-steps", type=int, default=230)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    parser.add_argument("--work", type=Path, default=Path("build/pruning-ranks"), help="for models and checkpoints")
    parser.add_argument("--commit", help="of factcli, for the record; default: asked of git")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    file = given.results / f"{given.name}-pruning-{given.task}.json"
    for density in given.densities:
        for method in PRUNINGS:
            key = {"prune": method, "density": density}
            if any(all(e[k] == v for k, v in key.items()) for e in runs.read(file)):
                continue
            chosen = ["--task", given.task, "--prune", method, "--density", str(density), "--max-steps"]
            chosen += [str(given.max_steps), "--learning-rate", "1e-4", "--precision", given.precision]
            model = given.work / "pruned"
            shutil.rmtree(model, ignore_errors=True)
            result = runs.finetune(given.model, given.data_dir, given.work / "run", chosen, keep=model)
            layers = factcli.diagnose(str(model))["layers"]
            entry = key | {
                "rank": mean(x["rank"] / min(x["shape"]) for x in layers),
                "accuracy": result["metrics"]["accuracy"],
                "failed_run": result["failed_run"],
                "command": " ".join(["factcli finetune DENSE --data-dir GLUE", *chosen]),
                "layers": {x["name"]: x["rank"] for x in layers},
            }
            runs.say(f"{key} rank {entry['rank']:.3f}, accuracy {entry['accuracy']:.4f}")
            write_text(file, json.dumps([*runs.read(file), entry | runs.record(given.commit)], indent=1) + "\n")
            write_text(file.with_suffix(".md"), table(runs.read(file), given.name, given.task))
    plot(runs.read(file), file.with_suffix(".png"), f"{given.name} pruned on {given.task}")


if __name__ == "__main__":
    main()
