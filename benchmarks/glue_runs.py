"""Fine-tuning on GLUE, dense and factorized, committed as results: one process at a time, resumable.

    python benchmarks/glue_runs.py MODEL --data-dir GLUE [--tasks mrpc rte sst2] [--results recipes/results]

Dense and the three structures at `--keep`, direct and (low-rank) staged. Every run is a `factcli finetune` of its own;
its result, command, versions, seed and date go into RESULTS/NAME-TASK.json as soon as it ends, and the table
RESULTS/NAME.md is written anew. Runs that stand in the file are skipped, an interrupted one goes on from its
checkpoint. Models are deleted, their results are what is kept.
"""

import argparse
import json
from pathlib import Path

import runs

from factcli.files.atomic import write_text

CONFIGURATIONS: dict[str, list[str]] = {
    "dense": [],
    "low-rank direct": ["--method", "low-rank", "--schedule", "direct"],
    "low-rank staged": ["--method", "low-rank", "--schedule", "staged"],
    "block-low-rank direct": ["--method", "block-low-rank", "--schedule", "direct"],
    "monarch direct": ["--method", "monarch", "--schedule", "direct"],
}
# Epochs, seeds and steps between stages. The paper's 500 steps would be 22 epochs of MRPC.
TASKS = {
    "mrpc": (3, (1, 2, 3), 50),
    "rte": (3, (1, 2, 3), 50),
    "sst2": (1, (1,), 100),
}


def options(task: str, configuration: str, seed: int, keep: float, rate: str, precision: str) -> list[str]:
    """The options of a run that decide its result."""
    epochs, _, stage_steps = TASKS[task]
    chosen = CONFIGURATIONS[configuration]
    budget = ["--keep", str(keep)] if chosen else []
    stages = ["--stage-steps", str(stage_steps)] if "staged" in chosen else []
    return [
        "--task",
        task,
        *chosen,
        *budget,
        *stages,
        "--epochs",
        str(epochs),
        "--learning-rate",
        rate,
        "--precision",
        precision,
        "--seed",
        str(seed),
    ]


def table(results: Path, name: str) -> str:
    """Markdown: one row a task and configuration, means over seeds, failed runs counted."""
    lines = [
        f"# Fine-tuning {name} on GLUE",
        "",
        "Validation data, means over seeds with the sample deviation; a failed run has an accuracy at or below that of",
        "the training set's commonest label. Made by `benchmarks/glue_runs.py`; commands, versions and dates of every",
        "run are in the JSON files beside this one (seconds: since the last resumption, pauses included).",
        "",
        "| task | configuration | seeds | accuracy | F1 | majority | failed runs | steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        file = results / f"{name}-{task}.json"
        entries = runs.read(file)
        for configuration in CONFIGURATIONS:
            group = [r for r in entries if r["configuration"] == configuration]
            if not group:
                continue
            scores = {
                metric: runs.mean([r["result"]["metrics"][metric] for r in group])
                if metric in group[0]["result"]["metrics"]
                else ""
                for metric in ("accuracy", "f1")
            }
            failed = sum(r["result"]["failed_run"] for r in group)
            seeds = ", ".join(str(r["result"]["seed"]) for r in group)
            lines.append(
                f"| {task} | {configuration} | {seeds} | {scores['accuracy']} | {scores['f1']} | "
                f"{group[0]['result']['majority']:.4f} | {failed} of {len(group)} | {group[0]['result']['steps']} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--name", default="all-MiniLM-L6-v2", help="how results call the model")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: the task's")
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--learning-rate", default="1e-4")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    parser.add_argument("--work", type=Path, default=Path("glue-runs-work"), help="for checkpoints; emptied")
    parser.add_argument("--commit", help="of factcli, for the record; default: asked of git")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    for task in given.tasks:
        file = given.results / f"{given.name}-{task}.json"
        for seed in given.seeds or TASKS[task][1]:
            for configuration in CONFIGURATIONS:
                entries = runs.read(file)
                if any(r["configuration"] == configuration and r["result"]["seed"] == seed for r in entries):
                    continue
                chosen = options(task, configuration, seed, given.keep, given.learning_rate, given.precision)
                runs.say(f"{task}, {configuration}, seed {seed}")
                result = runs.finetune(given.model, given.data_dir, given.work, chosen)
                runs.say(f"{'FAILED RUN' if result['failed_run'] else 'done'} {result['metrics']}")
                entry = {
                    "configuration": configuration,
                    "command": " ".join(["factcli finetune MODEL --data-dir GLUE", *chosen]),
                    **runs.record(given.commit),
                    "result": result | {"model": given.name, "output": None},
                }
                write_text(file, json.dumps([*entries, entry], indent=1) + "\n")
                write_text(given.results / f"{given.name}.md", table(given.results, given.name))


if __name__ == "__main__":
    main()
