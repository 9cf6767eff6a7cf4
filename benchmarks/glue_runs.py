"""Fine-tuning on GLUE, dense and factorized, committed as results: one process at a time, resumable.

    python benchmarks/glue_runs.py MODEL --data-dir GLUE [--tasks mrpc rte sst2] [--results recipes/results]

Dense and the three structures at `--keep`, direct and (low-rank) staged. Every run is a `factcli finetune` of its own;
its result, command, versions, seed and date go into RESULTS/NAME-TASK.json as soon as it ends, and the table
RESULTS/NAME.md is written anew. Runs that stand in the file are skipped, an interrupted one goes on from its
checkpoint. Models are deleted, their results are what is kept.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


def run(model: str, data_dir: str, work: Path, chosen: list[str]) -> dict[str, Any]:
    """One `factcli finetune`, resumed where an earlier one was interrupted."""
    output = work / "model"
    identity, marker = json.dumps(chosen), work / "run"
    resume = ["--resume"] if marker.is_file() and marker.read_text() == identity else []
    if not (resume and (work / "model-checkpoints" / "run.json").is_file()):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        marker.write_text(identity)
        resume = []
    command = [sys.executable, "-m", "factcli", "finetune", model, "--data-dir", data_dir, *chosen]
    command += ["--save-steps", "100", "-o", str(output), "--json", *resume]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(chosen)} failed")
    result: dict[str, Any] = json.loads(done.stdout)
    shutil.rmtree(work)
    return result


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
        runs = json.loads(file.read_text()) if file.is_file() else []
        for configuration in CONFIGURATIONS:
            group = [r for r in runs if r["configuration"] == configuration]
            if not group:
                continue
            scores = {
                metric: _mean([r["result"]["metrics"][metric] for r in group])
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


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def write(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.partial")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


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
    where = Path(__file__).parent
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=where, capture_output=True, text=True).stdout.strip()
    record = {
        "versions": {p: version(p) for p in ("torch", "transformers", "datasets", "accelerate")}
        | {"python": platform.python_version(), "factcli commit": given.commit or asked or None},
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    for task in given.tasks:
        file = given.results / f"{given.name}-{task}.json"
        for seed in given.seeds or TASKS[task][1]:
            for configuration in CONFIGURATIONS:
                runs = json.loads(file.read_text()) if file.is_file() else []
                if any(r["configuration"] == configuration and r["result"]["seed"] == seed for r in runs):
                    continue
                chosen = options(task, configuration, seed, given.keep, given.learning_rate, given.precision)
                print(f"{datetime.datetime.now():%H:%M:%S} {task}, {configuration}, seed {seed}", flush=True)
                result = run(given.model, given.data_dir, given.work, chosen)
                said = "FAILED RUN" if result["failed_run"] else "done"
                print(f"{datetime.datetime.now():%H:%M:%S} {said} {result['metrics']}", flush=True)
                entry = {
                    "configuration": configuration,
                    "command": " ".join(["factcli finetune MODEL --data-dir GLUE", *chosen]),
                    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    **record,
                    "result": result | {"model": given.name, "output": None},
                }
                write(file, json.dumps([*runs, entry], indent=1) + "\n")
                write(given.results / f"{given.name}.md", table(given.results, given.name))


if __name__ == "__main__":
    main()
