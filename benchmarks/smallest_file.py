"""How small and how fast one file can be that loses nothing: factors, embeddings, int8, and training with labels.

    python benchmarks/smallest_file.py --data-dir GLUE [--tasks reviews mrpc sst2] [--ways ...] [--seconds 20]
        [--work DIR] [--results recipes/results]

all-MiniLM-L6-v2 is fine-tuned on each task as for criteria_accuracy.py (a model that stands in WORK/TASK/dense is taken
as it is). Each way makes a smaller model of it, trains that on the task's own labels, and exports it for
OpenVINO in int8: what is measured is that file, its accuracy, megabytes and milliseconds of 8 x 128 tokens, in turns
with the dense model in PyTorch. The dense model in int8 stands beside them, and half of its layers, trained alike.

Scores go into RESULTS/smallest-file.json as soon as they are there; those that stand in the file are not made again.
RESULTS/smallest-file.md is written anew; the bars are printed last, and the exit code is 1 where one is missed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import runs
from criteria_accuracy import COUNTED, NAME, Bench
from whole_model import KFAC, WHOLE, training_text

import factcli
from factcli.compress.dropping import every, export_plain
from factcli.files.atomic import write_text
from factcli.files.outputs import Output
from factcli.measuring.apart import Runner
from factcli.measuring.frontier import Clock
from factcli.models.cpus import instructions
from factcli.models.model import find_model
from factcli.runtimes.formats import formats

DENSE, LAYERS = "dense", "every second layer"
WAYS: dict[str, dict[str, Any]] = {
    DENSE: {},
    "kfac and embeddings, 0.25": {"keep": 0.25},
    "kfac, embeddings and vocabulary, 0.35": {"keep": 0.35, "vocabulary": True},
    LAYERS: {},
}
EPOCHS = {"reviews": 2, "mrpc": 2, "sst2": 1}
LOST, SMALLER, FASTER = 0.5, 10.0, 5.0
CELL = (8, 128)
FILE = formats["openvino"].file("int8")
Entry = dict[str, Any]


def make(bench: Bench, way: str, data_dir: str) -> tuple[Path, float]:
    """The trained model of one way, with its file, and the seconds of the training."""
    folder, options = bench.work / "smallest" / way, dict(WAYS[way])
    calibration = {"calibration": bench.calibration}
    calibration |= {"data_dir": data_dir} if bench.calibration == bench.task else {}
    start, seconds = bench.dense(), 0.0
    folder.parent.mkdir(exist_ok=True)
    if way == LAYERS:
        source = find_model(str(start))
        start = bench.work / "smallest" / "start"
        export_plain(source, Output(start, overwrite=True), every(source, 2))
    elif options:
        start = bench.work / "smallest" / "start"
        options |= {"vocabulary": training_text(bench, data_dir)} if options.get("vocabulary") else {}
        factcli.convert(str(bench.dense()), start, overwrite=True, **KFAC, **WHOLE, **calibration, **options)
    if way == DENSE:
        export_plain(find_model(str(start)), Output(folder, overwrite=True))
    else:
        began = time.perf_counter()
        factcli.finetune(
            str(start), folder, overwrite=True, epochs=EPOCHS[bench.task], learning_rate=1e-4,
            precision=bench.precision, save_steps=0, **bench.data,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    factcli.export(str(folder), format="openvino", precision="int8", **calibration)
    return folder, seconds


def entry_of(bench: Bench, way: str, data_dir: str) -> Entry:
    """What the file of a way keeps and weighs."""
    folder, seconds = make(bench, way, data_dir)
    data = {k: v for k, v in bench.data.items() if k != "train"}
    accuracy = factcli.evaluate(str(folder), backend="openvino", file=FILE, **data)[0]["metrics"]["accuracy"]
    parts = Runner(find_model(str(folder), accept_factorized=True), "openvino", "int8", folder / FILE).files
    return {
        "task": bench.task, "way": way, "epochs": 0 if way == DENSE else EPOCHS[bench.task],
        "accuracy": round(100 * accuracy, 3),
        "dense": round(100 * factcli.evaluate(str(bench.dense()), **data)[0]["metrics"]["accuracy"], 3),
        "bytes": sum(part.stat().st_size for part in parts), "training_seconds": round(seconds, 1),
        "dense_bytes": (bench.dense() / "model.safetensors").stat().st_size,
    }  # fmt: skip


def timed(bench: Bench, ways: list[str], seconds: float) -> tuple[float | None, list[float | None]]:
    """Milliseconds of the dense model in PyTorch, and how many times as fast the file of each way is."""
    folders = [bench.work / "smallest" / way for way in ways]
    runners = [
        Runner(find_model(str(one), accept_factorized=True), "openvino", "int8", one / FILE) for one in folders
    ]  # fmt: skip
    clock = Clock(Runner(find_model(str(bench.dense())), "torch", "float32", None), CELL, seconds, None)
    speedups = clock.speedups(runners)
    return clock.milliseconds, speedups


def table(entries: list[Entry], tasks: list[str]) -> list[str]:
    """A row a way: points lost on each task and in the mean, megabytes, how many times smaller and faster."""
    lines = [f"| int8 in OpenVINO | {' | '.join(tasks)} | mean lost | MB | smaller | faster |",
             "|---" * (len(tasks) + 5) + "|"]  # fmt: skip
    for way in WAYS:
        found = {e["task"]: e for e in entries if e["way"] == way}
        if len(found) < len(tasks):
            continue
        lost = [found[t]["dense"] - found[t]["accuracy"] for t in tasks]
        size, dense = mean(found[t]["bytes"] for t in tasks), mean(found[t]["dense_bytes"] for t in tasks)
        fast = f"{mean(found[t]['speedup'] for t in tasks):.1f}" if all("speedup" in found[t] for t in tasks) else ""
        lines.append(
            f"| {way}{', trained' * (way != DENSE)} | {' | '.join(f'{x:+.2f}' for x in lost)} | "
            f"{mean(lost):+.2f} | {size / 1e6:.1f} | {dense / size:.1f} | {fast} |"
        )
    return lines


def bars(entries: list[Entry], tasks: list[str]) -> list[tuple[str, bool]]:
    """One file of ours that is SMALLER and FASTER and loses at most LOST in the mean."""
    lines = []
    for way in [way for way in WAYS if way not in (DENSE, LAYERS)]:
        found = [e for e in entries if e["way"] == way and e["task"] in tasks and "speedup" in e]
        if len(found) < len(tasks):
            continue
        lost = mean(e["dense"] - e["accuracy"] for e in found)
        smaller = mean(e["dense_bytes"] for e in found) / mean(e["bytes"] for e in found)
        faster = mean(e["speedup"] for e in found)
        good = lost <= LOST and smaller >= SMALLER and faster >= FASTER
        lines.append((f"{way}: {lost:.2f} lost (at most {LOST}), {smaller:.1f} times smaller (at least {SMALLER:g}), "
                      f"{faster:.1f} times faster (at least {FASTER:g})", good))  # fmt: skip
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=list(COUNTED))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seconds", type=float, default=20.0, help="of the turns; 0 times nothing")
    parser.add_argument("--work", type=Path, default=Path("build/smallest-file"))
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    file = arguments.results / "smallest-file.json"
    benches = {t: Bench(t, arguments.work, arguments.results, arguments.data_dir, "bfloat16") for t in arguments.tasks}
    for task, bench in benches.items():
        for way in arguments.ways:
            entries = runs.read(file)
            if not any((e["task"], e["way"]) == (task, way) for e in entries):
                entry = entry_of(bench, way, arguments.data_dir) | runs.record(None)
                runs.say(json.dumps(entry))
                write_text(file, json.dumps([*entries, entry], indent=1) + "\n")
    entries = runs.read(file)
    for task, bench in benches.items() if arguments.seconds else ():
        milliseconds, speedups = timed(bench, arguments.ways, arguments.seconds)
        for way, speedup in zip(arguments.ways, speedups, strict=True):
            entry = next(e for e in entries if (e["task"], e["way"]) == (task, way))
            entry |= {"speedup": speedup, "dense_ms": milliseconds, "instructions": list(instructions())}
    write_text(file, json.dumps(entries, indent=1) + "\n")
    lines, found = table(entries, arguments.tasks), bars(entries, arguments.tasks)
    minutes = max((e["training_seconds"] for e in entries), default=0.0) / 60
    title = [
        "# One small file", "",
        f"Points of accuracy that {NAME} loses, fine-tuned on each task, against itself in PyTorch, and how many times",
        "smaller and faster the file is (8 x 128 tokens). Made by `benchmarks/smallest_file.py`; trained with labels,",
        f"for at most {minutes:.1f} minutes.", "",
    ]  # fmt: skip
    said = [f"- {'met' if good else '**missed**'}: {text}" for text, good in found]
    write_text(arguments.results / "smallest-file.md", "\n".join([*title, *lines, "", *said]) + "\n")
    print("\n".join([*lines, "", *said]))
    return int(not any(good for _, good in found))


if __name__ == "__main__":
    sys.exit(main())
