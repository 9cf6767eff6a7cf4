"""Classifiers trained back without labels, by what the dense model says, beside those trained with labels alone.

    python benchmarks/healing_classifiers.py --data-dir GLUE [--tasks sst2 mrpc reviews] [--seeds 1] [--work DIR]
        [--results recipes/results]

all-MiniLM-L6-v2 fine-tuned on each task as for whole_model.py (a model that stands in WORK/TASK/dense is taken as it
is); 10 % of its linear layers kept (kfac, global). Then as many steps of 32 rows as in training-minilm.yaml: with
labels (learning rate 1e-4, as there), and on the same texts without them, the dense model as teacher and all else as it
is by default. Bar: without labels at most 0.3 points below, mean over the tasks.

Scores go into RESULTS/healing-classifiers.json as soon as they are there; RESULTS/healing-classifiers.md is written
anew. Exits with 1 where the bar is missed.
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq
import runs
from criteria_accuracy import Bench

import factcli
from factcli.files.atomic import write_text

STEPS = {"sst2": 800, "mrpc": 230, "reviews": 440}
COLUMNS = {"sst2": ("sentence",), "mrpc": ("sentence1", "sentence2"), "reviews": ("text",)}
KEPT: dict[str, Any] = {"keep": 0.10, "criterion": "kfac", "allocation": "global"}
LESS = 0.3
WAYS = ("converted", "with labels", "without labels")
Entry = dict[str, Any]


def unlabelled(bench: Bench, data_dir: str) -> Path:
    """The texts that the task trains on, and nothing else."""
    file = bench.work / "unlabelled.csv"
    if bench.task == "reviews":
        with Path(bench.data["train"]).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    else:
        rows = pq.read_table(Path(data_dir) / bench.task / "train.parquet").to_pylist()
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS[bench.task], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return file


def entry_of(bench: Bench, way: str | None, seed: int, data_dir: str) -> Entry:
    """The accuracy of one model: dense (None), converted, and trained."""
    dense, folder = bench.dense(), bench.work / "converted"
    found: Entry = {"task": bench.task, "way": way, "seed": seed}
    if way is None:
        folder = dense
    else:
        data: Entry = {"calibration": bench.calibration}
        data |= {"data_dir": data_dir} if bench.calibration == bench.task else {}
        factcli.convert(str(dense), folder, overwrite=True, seed=seed, **KEPT, **data)
    if way in WAYS[1:]:
        options: Entry = {"max_steps": STEPS[bench.task], "seed": seed, "save_steps": 0, "overwrite": True}
        if way == "with labels":
            options |= {"learning_rate": 1e-4, **bench.data}
        else:
            texts = {"train": unlabelled(bench, data_dir), "text_column": COLUMNS[bench.task]}
            options |= {"teacher": str(dense), **texts}
        result = factcli.finetune(str(folder), bench.work / "trained", **options)
        found |= {"steps": result["steps"], "seconds": result["seconds"]}
        found |= {k: result[k] for k in ("best_step",) if k in result}
        folder = bench.work / "trained"
    data = {k: v for k, v in bench.data.items() if k != "train"}
    metrics = factcli.evaluate(str(folder), **data)[0]["metrics"]
    return found | {"accuracy": round(100 * metrics["accuracy"], 3)}


def table(entries: list[Entry], tasks: list[str]) -> list[str]:
    """A row a way, means over seeds."""
    lines = [f"| | {' | '.join(tasks)} | mean |", "|---" * (len(tasks) + 2) + "|"]
    for way in (None, *WAYS):
        scores = [mean(found) if (found := of(entries, t, way)) else None for t in tasks]
        known = [s for s in scores if s is not None]
        cells = ["" if s is None else f"{s:.1f}" for s in scores]
        lines.append(f"| {way or 'dense'} | {' | '.join(cells)} | {f'{mean(known):.1f}' if known else ''} |")
    return lines


def of(entries: list[Entry], task: str, way: str | None) -> list[float]:
    return [e["accuracy"] for e in entries if (e["task"], e["way"]) == (task, way)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--work", type=Path, default=Path("build/whole-model"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    file = given.results / "healing-classifiers.json"
    for task in given.tasks:
        bench = Bench(task, given.work, given.results, given.data_dir, "float32")
        for way, seed in [(None, 0), *((w, s) for s in given.seeds for w in WAYS)]:
            entries = runs.read(file)
            if any((e["task"], e["way"], e["seed"]) == (task, way, seed) for e in entries):
                continue
            entry = entry_of(bench, way, seed, given.data_dir)
            runs.say(json.dumps(entry))
            write_text(file, json.dumps([*entries, entry | runs.record(None)], indent=1) + "\n")
    entries = runs.read(file)
    tasks = [t for t in STEPS if of(entries, t, None)]
    lines = table(entries, tasks)
    seeds = sorted({e["seed"] for e in entries if e["way"] is not None})
    title = ["# Classifiers trained back without labels", "",
             f"all-MiniLM-L6-v2, 10 % of its linear layers kept, accuracy, seeds {', '.join(map(str, seeds))}. Made by",
             "`benchmarks/healing_classifiers.py`.", ""]  # fmt: skip
    write_text(given.results / "healing-classifiers.md", "\n".join([*title, *lines]) + "\n")
    both = [t for t in tasks if of(entries, t, WAYS[1]) and of(entries, t, WAYS[2])]
    gain = mean(mean(of(entries, t, WAYS[2])) - mean(of(entries, t, WAYS[1])) for t in both) if both else 0.0
    sys.stdout.write("\n".join(lines) + f"\n\nwithout labels over with labels: {gain:+.2f}, at least -{LESS}\n")
    return int(gain < -LESS)


if __name__ == "__main__":
    sys.exit(main())
