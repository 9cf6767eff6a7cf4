"""How to factorize and train, at equal numbers of training steps: one process at a time, resumable.

    python benchmarks/training_grid.py MODEL --data-dir GLUE [--tasks mrpc rte sst2] [--keeps 0.25 0.1] [--seeds 1 2 3]
        [--configurations ...] [--results recipes/results] [--work DIR]

MODEL is fine-tuned once on each task, and every run starts from that. The teacher of the runs that have one is this
dense model, or the same trained on for as many steps as they have, whichever does better on the validation data.
The results, with command, versions, seed and date, go into RESULTS/NAME-training-TASK.json as soon as they are there,
and the table RESULTS/NAME-training.md is written anew; runs that stand in the file are skipped, so that tasks can run
side by side. Prints the bars last and exits with 1 where one is missed.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import runs

import factcli
from factcli.files.atomic import write_text

TASKS = {"mrpc": 230, "rte": 156, "sst2": 800}  # training steps of a run: 2 epochs, 2 epochs, 0.4 epochs
DENSE_EPOCHS = {"mrpc": 4, "rte": 4, "sst2": 1}
STAGES = 6  # of MiniLM's six blocks
CACHED = ("mrpc", "rte")  # small enough to keep what the teacher says of every example
KEPT = ("task", "schedule", "learning_rate", "steps", "metrics", "majority", "failed_run", "seconds", "examples")
DIRECT = ["--method", "low-rank", "--schedule", "direct"]
KFAC = [*DIRECT, "--criterion", "kfac", "--allocation", "global"]
LPAF = ["-c", str(Path(__file__).parents[1] / "recipes" / "lpaf.yaml")]
UNIFORM = ["--allocation", "uniform"]
CONFIGURATIONS: dict[str, list[str]] = {
    "frobenius, direct": DIRECT,
    "frobenius, staged": ["--method", "low-rank", "--schedule", "staged"],
    "FWSVD, direct": [*DIRECT, "--criterion", "fisher-rows"],
    "TFWSVD, direct": [*DIRECT, "--criterion", "fisher"],
    "LPAF": LPAF,
    "LPAF, fisher": [*LPAF, *UNIFORM, "--criterion", "fisher"],
    "LPAF, movement and l0": [*LPAF, *UNIFORM, "--criterion", "sparsity", "--prune", "movement", "--density", "0.2"],
    "kfac global, direct": KFAC,
    "kfac global, direct, teacher": KFAC,
}


def options(task: str, configuration: str, keep: float, seed: int, rate: str, precision: str) -> list[str]:
    """The options of a run that decide its result; its steps are those of every other run of the task."""
    steps = TASKS[task]
    chosen = CONFIGURATIONS[configuration]
    if "staged" in chosen:
        between = max(1, steps // 3 // (STAGES - 1))
        steps -= between * (STAGES - 1)
        chosen = [*chosen, "--stage-steps", str(between)]
    common = ["--task", task, "--keep", str(keep), "--max-steps", str(steps), "--learning-rate", rate]
    return [*common, "--precision", precision, "--seed", str(seed), *chosen]


def table(entries: list[dict[str, Any]], name: str) -> str:
    """Markdown: a row a keep ratio and configuration, means over seeds and tasks."""
    tasks = [t for t in TASKS if any(e["task"] == t for e in entries)]
    lines = [
        f"# Factorizing and training {name}",
        "",
        "Accuracy on validation data, mean over seeds with the sample deviation, at equal numbers of training steps; a",
        "failed run has an accuracy at or below that of the training set's commonest label. Made by",
        "`benchmarks/training_grid.py`; commands, versions and dates are in the JSON file beside this one.",
        "",
        "| keep | configuration | " + " | ".join(tasks) + " | mean | failed runs |",
        "|---" * (len(tasks) + 4) + "|",
    ]
    for keep in sorted({e["keep"] for e in entries}, reverse=True):
        for configuration in ("dense", "dense, trained on", *CONFIGURATIONS):
            group = [e for e in entries if e["keep"] == keep and e["configuration"] == configuration]
            if not group:
                continue
            scores = {t: [e["result"]["metrics"]["accuracy"] for e in group if e["task"] == t] for t in tasks}
            shown = [runs.mean(v) if v else "" for v in scores.values()]
            whole = f"{mean(mean(v) for v in scores.values()):.4f}" if all(scores.values()) else ""
            failed = sum(e["result"]["failed_run"] for e in group)
            lines.append(f"| {keep} | {configuration} | {' | '.join(shown)} | {whole} | {failed} of {len(group)} |")
    return "\n".join(lines) + "\n"


def bars(entries: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """What these results can answer: points are of 100, means over the tasks that both sides have been run on."""

    def gain(ours: str, theirs: str, keep: float) -> float | None:
        scores: dict[tuple[str, str], list[float]] = {}
        for e in entries:
            if e["keep"] == keep:
                scores.setdefault((e["configuration"], e["task"]), []).append(e["result"]["metrics"]["accuracy"])
        both = [t for t in TASKS if (ours, t) in scores and (theirs, t) in scores]
        return 100 * mean(mean(scores[ours, t]) - mean(scores[theirs, t]) for t in both) if both else None

    found = []
    for name in (c for c in CONFIGURATIONS if c.startswith("LPAF")):
        lead = gain(name, "frobenius, direct", 0.1)
        if lead is not None:
            found.append((f"{name} over frobenius at 0.1: {lead:+.2f}, at least +1.5", lead >= 1.5))
    kfac = "kfac global, direct"
    keeps = sorted({e["keep"] for e in entries})
    gains = [lead for keep in keeps if (lead := gain(f"{kfac}, teacher", kfac, keep)) is not None]
    if gains:
        found.append((f"a teacher adds {mean(gains):+.2f} on average, at least +0.5", mean(gains) >= 0.5))
    last = [e for e in entries if e["configuration"].startswith("kfac")]
    failed = sum(e["result"]["failed_run"] for e in last)
    if last:
        found.append((f"{failed} failed runs with kfac, none", failed == 0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--name", default="all-MiniLM-L6-v2", help="how results call the model")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--keeps", nargs="+", type=float, default=[0.25, 0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--configurations", nargs="+", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--learning-rate", default="1e-4")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    parser.add_argument("--work", type=Path, default=Path("build/training-grid"), help="for models and checkpoints")
    parser.add_argument("--commit", help="of factcli, for the record; default: asked of git")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    given.results.mkdir(parents=True, exist_ok=True)
    files = {task: given.results / f"{given.name}-training-{task}.json" for task in TASKS}

    def entries() -> list[dict[str, Any]]:
        return [e for file in files.values() for e in runs.read(file)]

    def done(key: dict[str, Any]) -> bool:
        return any(all(e[k] == v for k, v in key.items()) for e in entries())

    def keep_result(key: dict[str, Any], command: list[str], result: dict[str, Any]) -> None:
        shown = " ".join(c if not c.startswith("/") else Path(c).name for c in command)
        entry = key | {"command": f"factcli {shown}"} | runs.record(given.commit)
        file = files[key["task"]]
        kept = {k: v for k, v in result.items() if k in KEPT}
        write_text(file, json.dumps([*runs.read(file), entry | {"result": kept}], indent=1) + "\n")
        write_text(given.results / f"{given.name}-training.md", table(entries(), given.name))

    for task in given.tasks:
        dense, work = given.work / f"{given.name}-{task}", given.work / f"run-{task}"
        if not dense.is_dir():
            runs.say(f"{task}, dense")
            chosen = ["--task", task, "--epochs", str(DENSE_EPOCHS[task]), "--learning-rate", "5e-5", "--seed", "0"]
            runs.finetune(given.model, given.data_dir, work, [*chosen, "--precision", given.precision], keep=dense)
        key = {"task": task, "configuration": "dense", "keep": 1.0, "seed": 0}
        if not done(key):
            result = factcli.evaluate(str(dense), task=task, data_dir=given.data_dir)[0]
            keep_result(key, ["eval", "DENSE", "--task", task], result)
        longer = given.work / f"{given.name}-{task}-longer"
        common = ["--task", task, "--max-steps", str(TASKS[task]), "--learning-rate", given.learning_rate]
        common += ["--precision", given.precision]
        if not longer.is_dir() and any(c.endswith("teacher") for c in given.configurations):
            runs.say(f"{task}, dense, trained on")
            result = runs.finetune(str(dense), given.data_dir, work, [*common, "--seed", "0"], keep=longer)
            key = {"task": task, "configuration": "dense, trained on", "keep": 1.0, "seed": 0}
            keep_result(key, ["finetune", "DENSE", "--data-dir", "GLUE", *common, "--seed", "0"], result)
        scores = {e["configuration"]: e["result"]["metrics"]["accuracy"] for e in entries() if e["task"] == task}
        teacher = longer if scores.get("dense, trained on", 0) > scores["dense"] else dense
        for seed in given.seeds:
            for keep in given.keeps:
                for configuration in given.configurations:
                    key = {"task": task, "configuration": configuration, "keep": keep, "seed": seed}
                    if done(key):
                        continue
                    chosen = options(task, configuration, keep, seed, given.learning_rate, given.precision)
                    if configuration.endswith("teacher"):
                        chosen += ["--teacher", str(teacher), *(["--teacher-cache"] if task in CACHED else [])]
                    runs.say(f"{task}, keep {keep}, {configuration}, seed {seed}")
                    result = runs.finetune(str(dense), given.data_dir, work, chosen)
                    runs.say(f"{'FAILED RUN' if result['failed_run'] else 'done'} {result['metrics']}")
                    keep_result(key, ["finetune", "DENSE", "--data-dir", "GLUE", *chosen], result)
    found = bars(entries())
    for text, met in found:
        print("met   " if met else "MISSED", text)
    sys.exit(not all(met for _, met in found))


if __name__ == "__main__":
    main()
