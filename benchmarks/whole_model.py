"""What the whole model costs: embeddings, vocabulary, megabytes; and what is lost, without training.

    python benchmarks/whole_model.py --data-dir GLUE [--tasks reviews mrpc sst2] [--rows ...] [--epochs 2]
        [--work DIR] [--results recipes/results]

all-MiniLM-L6-v2 is fine-tuned on each task as for criteria_accuracy.py (a model that stands in WORK/TASK/dense is
taken as it is). Rows: the token embedding alone at a share of itself; all targets and the embedding together; with the
OpenVINO int8 file of that; a vocabulary of 16,384 tokens from the task's training text; each with the criterion that is
recommended and with plain SVD. Frequencies are counted in the whole training text, 512 of whose rows are calibrated on.
With --epochs the quarter is trained on.

Scores go into RESULTS/whole-model.json as soon as they are there; those that stand in the file are not made again.
RESULTS/whole-model.md is written anew; the bars are printed last, and the exit code is 1 where one is missed.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import runs
from criteria_accuracy import NAME, Bench
from datasets import load_dataset

import factcli
from factcli.files.atomic import write_text

KFAC = {"criterion": "kfac", "allocation": "global"}
ALONE = {"embeddings": "factorize", "include": ("embeddings",)}
WHOLE = {"embeddings": "factorize"}
INT8 = {"format": ("openvino",), "precision": "int8"}
ROWS: dict[str, dict[str, Any]] = {
    "embeddings at 0.25": {**KFAC, **ALONE, "keep": 0.25},
    "embeddings at 0.10": {**KFAC, **ALONE, "keep": 0.10},
    "embeddings at 0.25, plain SVD": {**ALONE, "keep": 0.25},
    "embeddings at 0.10, plain SVD": {**ALONE, "keep": 0.10},
    "linear layers at 0.25": {**KFAC, "keep": 0.25},
    "all at 0.25": {**KFAC, **WHOLE, "keep": 0.25},
    "all at 0.15": {**KFAC, **WHOLE, "keep": 0.15},
    "all at 0.25, plain SVD": {**WHOLE, "keep": 0.25},
    "all at 0.15, plain SVD": {**WHOLE, "keep": 0.15},
    "all at 0.25, OpenVINO int8": {**KFAC, **WHOLE, "keep": 0.25, **INT8},
    "vocabulary of 16,384": {"vocabulary_size": 16384},
}
TRAINED = "all at 0.25"
BARS = {"embeddings at 0.25": 0.6, "embeddings at 0.10": 1.5, "all at 0.25": 1.8, "all at 0.15": 3.0,
        "vocabulary of 16,384": 0.3}  # fmt: skip
FILE_MB, FILE_LOSS, TRAINED_LOSS = 8.0, 0.5, 0.5
Entry = dict[str, Any]


def training_text(bench: Bench, data_dir: str) -> Path:
    """All texts that the task trains on, a line each."""
    file = bench.work / "texts.txt"
    if file.is_file():
        return file
    if bench.task == "reviews":
        with Path(bench.data["train"]).open(encoding="utf-8", newline="") as stream:
            lines = [row["text"] for row in csv.DictReader(stream)]
    else:
        rows = load_dataset("parquet", data_files=str(Path(data_dir) / bench.task / "train.parquet"), split="train")
        lines = [" ".join(str(row[c]) for c in rows.column_names if c.startswith("sentence")) for row in rows]
    file.write_text("".join(line.replace("\n", " ") + "\n" for line in lines), encoding="utf-8")
    return file


def entry_of(bench: Bench, row: str | None, epochs: int, data_dir: str) -> Entry:
    """What one model keeps: made from the dense one (None: that itself), trained for `epochs`, evaluated."""
    folder = bench.dense()
    found: Entry = {"task": bench.task, "row": row, "epochs": epochs}
    data = {k: v for k, v in bench.data.items() if k != "train"}
    if row is not None:
        options = dict(ROWS[row])
        if "vocabulary_size" in options:
            options["vocabulary"] = training_text(bench, data_dir)
        elif "criterion" in options:
            options |= {"calibration": bench.calibration}
            options |= {"data_dir": bench.data_dir} if bench.calibration == bench.task else {}
        started = time.perf_counter()
        made = factcli.convert(str(folder), bench.work / "converted", overwrite=True, **options)
        found |= {"seconds": round(time.perf_counter() - started, 1), "bytes": made["bytes"]["after"]}
        folder = bench.work / "converted"
        if "runtimes" in made:
            found["file"] = made["runtimes"][0]["bytes"]
            result = factcli.evaluate(str(folder), backend="openvino", **data)[0]
            found["of_file"] = round(100 * result["metrics"]["accuracy"], 3)
    if epochs:
        factcli.finetune(
            str(folder), bench.work / "trained", overwrite=True, epochs=epochs, learning_rate=1e-4,
            save_steps=0, **bench.data,
        )  # fmt: skip
        folder = bench.work / "trained"
    result = factcli.evaluate(str(folder), **data)[0]
    found |= {"accuracy": round(100 * result["metrics"]["accuracy"], 3), "failed": result["failed_run"]}
    return found


def drop(entries: list[Entry], task: str, row: str, epochs: int = 0) -> float | None:
    """Points lost against the dense model; by the file of a runtime, where there is one."""
    by = {(e["task"], e["row"], e["epochs"]): e.get("of_file", e["accuracy"]) for e in entries}
    dense, found = by.get((task, None, 0)), by.get((task, row, epochs))
    return None if dense is None or found is None else dense - found


def table(entries: list[Entry], tasks: list[str]) -> list[str]:
    """A row a way of making the model smaller: points lost on each task, their mean, and what it weighs."""
    dense = [next((f"{e['accuracy']:.1f}" for e in entries if e["task"] == t and e["row"] is None), "") for t in tasks]
    lines = [f"| | {' | '.join(tasks)} | mean | MB of weights |", "|---" * (len(tasks) + 3) + "|",
             f"| dense (accuracy) | {' | '.join(dense)} | | 90.9 |"]  # fmt: skip
    for row in ROWS:
        for epochs in sorted({e["epochs"] for e in entries if e["row"] == row}):
            lost = [drop(entries, t, row, epochs) for t in tasks]
            known = [x for x in lost if x is not None]
            cells = ["" if x is None else f"{x:+.2f}" for x in lost]
            here = [e for e in entries if e["row"] == row and e["epochs"] == epochs]
            average = f"{mean(known):+.2f}" if len(known) == len(tasks) else ""
            size = f"{mean(e['bytes'] for e in here) / 1e6:.1f}"
            if any("file" in e for e in here):
                size = f"{mean(e['file'] for e in here) / 1e6:.2f} (file)"
            name = row + (f", {epochs} epochs" if epochs else "")
            lines.append(f"| {name} | {' | '.join(cells)} | {average} | {size} |")
    return lines


def bars(entries: list[Entry], tasks: list[str]) -> list[tuple[str, float, float]]:
    """What each bar asks for at most, and what was measured, of those that are known for every task."""
    found = []

    def add(name: str, row: str, most: float, epochs: int = 0) -> None:
        lost = [drop(entries, t, row, epochs) for t in tasks]
        if None not in lost:
            found.append((f"{name}, points lost", mean(x for x in lost if x is not None), most))

    for row, most in BARS.items():
        add(row, row, most)
    for epochs in sorted({e["epochs"] for e in entries} - {0}):
        add(f"{TRAINED}, {epochs} epochs", TRAINED, TRAINED_LOSS, epochs)
    files = [e for e in entries if "file" in e]
    if files:
        found.append(("MB of the OpenVINO int8 file", max(e["file"] for e in files) / 1e6, FILE_MB))
        lost_by_file = mean(e["accuracy"] - e["of_file"] for e in files)
        found.append(("points lost by the int8 file to its own model", lost_by_file, FILE_LOSS))
    return found


def main() -> int:
    """Make what is missing, write the table, say which bars are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=["reviews", "mrpc", "sst2"])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/whole-model"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--commit", help="of factcli, where git is not to be asked")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "whole-model.json"
    wanted: list[tuple[str | None, int]] = [(None, 0), *((row, 0) for row in arguments.rows)]
    wanted += [(TRAINED, arguments.epochs)] if arguments.epochs else []
    for task in arguments.tasks:
        bench = Bench(task, arguments.work, arguments.results, arguments.data_dir, arguments.precision)
        for row, epochs in wanted:
            entries = runs.read(file)
            if any((e["task"], e["row"], e["epochs"]) == (task, row, epochs) for e in entries):
                continue
            entry = entry_of(bench, row, epochs, arguments.data_dir)
            runs.say(json.dumps(entry))
            write_text(file, json.dumps([*entries, entry | runs.record(arguments.commit)], indent=1) + "\n")
    entries = runs.read(file)
    title = [f"# {NAME}, whole", "", "Points of accuracy lost against the dense model, made by",
             "`benchmarks/whole_model.py`.", ""]  # fmt: skip
    lines = table(entries, arguments.tasks)
    write_text(arguments.results / "whole-model.md", "\n".join([*title, *lines]) + "\n")
    sys.stdout.write("\n".join(lines) + "\n\n")
    missed = False
    for name, value, most in bars(entries, arguments.tasks):
        missed |= value > most
        sys.stdout.write(f"{name}: {value:.2f}, at most {most} {'met' if value <= most else 'MISSED'}\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
