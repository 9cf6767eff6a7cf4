"""8 bits in ONNX Runtime: dynamic, which `factcli export` makes, beside static.

    python benchmarks/onnx_int8.py --model DIR... --data-dir GLUE [--task sst2] [--seconds 60] [--work DIR]
        [--results recipes/results]

Each DIR is a model that `factcli export --format onnx` has written its float32 file into. From that file come the one
of `factcli export --precision int8`, whose scales of what goes into a product are found as it runs, and static ones,
whose scales come from 300 training texts: with MinMax, Percentile and Entropy, as pairs of QuantizeLinear and
DequantizeLinear (QDQ) and as operators of 8 bits (QOperator), and with products that come out in float32. All have a
scale for every column of a matrix, unsigned 8 bits for what goes in, the weights that this CPU adds without overflow,
and the same layers spared. Accuracy is of the whole validation data; times are of sessions in processes of their own,
in turns. Writes RESULTS/onnx-int8.json and .md. DIR stays as it is.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runs
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

import factcli
from factcli.errors import FactcliError
from factcli.files.atomic import write_text
from factcli.measuring.apart import Runner, measure_apart
from factcli.measuring.ratios import compare
from factcli.measuring.timing import Schedule
from factcli.models import cpus
from factcli.models.model import find_model
from factcli.recipe.running import Data, Exporting
from factcli.runtimes import Made, formats
from factcli.runtimes.checking import rows_of
from factcli.runtimes.extras import versions
from factcli.runtimes.formats import Batch
from factcli.runtimes.graph import graph_of
from factcli.runtimes.harm import harmed
from factcli.runtimes.make import fit_of
from factcli.runtimes.rows import read_rows
from factcli.runtimes.silence import silent

BATCHES, LENGTH = (1, 8, 32), 128
LEAST, MOST = 5, 50  # rounds of a shape
OPERATORS = ["Gather", "MatMul", "Gemm"]  # as the dynamic file has them
Row = dict[str, Any]


@dataclass(frozen=True)
class Static:
    """One way to fix scales. `more` of onnxruntime's options."""

    format: str
    method: str
    more: dict[str, Any]
    said: str = ""


FLOAT_OUTPUTS = {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]}
STATIC = {
    "static-qdq-minmax": Static("QDQ", "MinMax", {}),
    "static-qdq-percentile": Static("QDQ", "Percentile", {"CalibPercentile": 99.99}),
    "static-qdq-entropy": Static("QDQ", "Entropy", {}),
    "static-qdq-minmax-float-outputs": Static("QDQ", "MinMax", FLOAT_OUTPUTS, "products come out in float32"),
    "static-qoperator-minmax": Static("QOperator", "MinMax", {}),
}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Rows, one after the other; of those that it is asked for, for histograms take no rows of several lengths."""

    def __init__(self, rows: list[Batch]) -> None:
        self.every, self.rows = rows, iter(rows)

    def __len__(self) -> int:
        return len(self.every)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.rows = iter(self.every[start_index:end_index])

    def get_next(self) -> dict[str, Any] | None:
        row = next(self.rows, None)
        return None if row is None else dict(row)


def make(folder: Path, task: str, data_dir: str) -> dict[str, Row]:
    """All 8-bit files, in the directory of the float32 one: path, and seconds that it took; or why there is none."""
    onnx = formats["onnx"]
    graph_file = folder / onnx.file("float32")
    if not graph_file.is_file():
        raise SystemExit(f"{folder.name} has no {onnx.file('float32')}: run factcli export with --format onnx first")
    source = find_model(str(folder), accept_factorized=True)
    loaded = source.load(torch.float32)
    fit = fit_of(source, loaded)
    graph = graph_of(source, loaded.model, fit)
    how = Exporting(format=("onnx",), precision=("int8",), calibration=task)
    rows = list(rows_of(graph, fit, read_rows(how, Data(data_dir=data_dir), fit, source.config, None).calibrate, 1))
    spared = harmed(graph_file, rows)
    runs.say(f"{folder.name}: {len(rows)} texts, spared: {', '.join(sorted(spared)) or 'none'}")
    found: dict[str, Row] = {}
    for name in ("dynamic", *STATIC):
        file, started = graph_file.with_name(f"model_int8_{name}.onnx"), time.perf_counter()
        try:
            if name == "dynamic":
                onnx.write(Made(graph_file, rows, spared), "int8", file)
            else:
                quantize(graph_file, file, STATIC[name], rows, spared)
            onnx.open(file).run(rows[0])
        except FactcliError as error:
            found[name] = {"fails": str(error)}
        except Exception as error:  # of onnxruntime.quantization, which has no class of its own
            found[name] = {"fails": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        else:
            found[name] = {"file": file, "seconds": round(time.perf_counter() - started, 1)}
        runs.say(f"{folder.name} {name}: {found[name].get('fails') or found[name]['seconds']}")
    return found


def quantize(graph: Path, file: Path, static: Static, rows: list[Batch], spared: frozenset[str]) -> None:
    with silent():
        quantize_static(
            graph, file, Reader(rows), quant_format=QuantFormat[static.format], op_types_to_quantize=OPERATORS,
            per_channel=True, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8 if cpus.signed() else QuantType.QUInt8,
            nodes_to_exclude=sorted(spared), calibrate_method=CalibrationMethod[static.method],
            extra_options={"MatMulConstBOnly": True, "CalibStridedMinMax": 1, **static.more},
        )  # fmt: skip


def measure(folder: Path, made: dict[str, Row], task: str, data_dir: str, seconds: float) -> list[Row]:
    """A row a file: accuracy, size, and its speed over the float32 one at each shape."""
    exact = folder / formats["onnx"].file("float32")
    files = {"float32": exact} | {name: row["file"] for name, row in made.items() if "file" in row}
    for name, file in files.items():
        (result,) = factcli.evaluate(
            str(folder), task=task, data_dir=data_dir, backend="onnx", file=file.relative_to(folder).as_posix()
        )
        runs.say(f"{folder.name} {name}: {result['metrics']}")
    source = find_model(str(folder), accept_factorized=True)
    chosen = [Runner(source, "onnx", "float32" if name == "float32" else "int8", file) for name, file in files.items()]
    cells = [(batch, LENGTH, "eager") for batch in BATCHES]
    schedule = Schedule(LEAST, MOST, seconds)
    results = measure_apart(chosen, cells, schedule, None, lambda done, total, cell: runs.say(f"{folder.name} {cell}"))
    found = {
        name: {"model": folder.name, "file": name, "seconds": made.get(name, {}).get("seconds"), "shapes": []}
        for name in files
    }
    for number, result in enumerate(results):
        first = results[number - number % len(files)]
        ratio = compare(result, first, "median")
        row = found[list(files)[number % len(files)]]
        row |= {"bytes": result["bytes"], "accuracy": next(iter(result["accuracy"].values()))}
        row["shapes"].append({
            "batch_size": result["batch_size"], "ms": round(result["latency_ms"]["median"], 2),
            "memory": result["peak_memory_bytes"], "rounds": len(result["samples_ms"]),
            **{key: round(ratio[key], 3) for key in ("speedup", "speedup_p10", "speedup_p90")},
        })  # fmt: skip
    failed = [{"model": folder.name, "file": name, **row} for name, row in made.items() if "fails" in row]
    return [*found.values(), *failed]


def table(rows: list[Row]) -> list[str]:
    shapes = [f"speed-up at {batch}x{LENGTH}" for batch in BATCHES]
    head = ("model", "file", "calibrated with", "MB", "accuracy", *shapes, "seconds to make")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        static = STATIC.get(row["file"])
        how = "" if static is None else f"{static.method}{', ' + static.said if static.said else ''}"
        if "fails" in row:
            lines.append(
                f"| {row['model']} | {row['file']} | {how} | fails: {row['fails']} |{' |' * (2 + len(shapes))}"
            )
            continue
        speeds = [f"{s['speedup']:.2f} ({s['speedup_p10']:.2f} to {s['speedup_p90']:.2f})" for s in row["shapes"]]
        took = "" if row["seconds"] is None else row["seconds"]
        cells = (row["model"], row["file"], how, f"{row['bytes'] / 1e6:.1f}", f"{100 * row['accuracy']:.2f}", *speeds)
        lines.append(f"| {' | '.join(cells)} | {took} |")
    return lines


def report(result: dict[str, Any], file: Path) -> None:
    lines = [
        "# 8 bits in ONNX Runtime: dynamic and static", "",
        "Speed over the float32 file in ONNX Runtime, median and 10th to 90th percentile of the rounds of one run; "
        f"accuracy:\n{result['task']}, validation; made by `benchmarks/onnx_int8.py`. CPU: {torch.get_num_threads()} "
        f"threads, {', '.join(result['cpu'])}. ONNX Runtime {result['runtimes']['onnxruntime']}.",
        "", *table(result["rows"]),
    ]  # fmt: skip
    write_text(file.with_suffix(".md"), "\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--seconds", type=float, default=60, help="for the rounds of a shape")
    parser.add_argument("--work")
    parser.add_argument("--results", default="recipes/results")
    parser.add_argument("--commit")
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="factcli-int8-", dir=arguments.work) as work:
        for given in map(Path, arguments.model):
            folder = Path(work) / given.resolve().name
            shutil.copytree(given, folder)
            made = make(folder, arguments.task, arguments.data_dir)
            rows += measure(folder, made, arguments.task, arguments.data_dir, arguments.seconds)
    result = {
        "task": arguments.task, "rows": rows, "cpu": list(cpus.instructions()), "runtimes": versions("onnx"),
        **runs.record(arguments.commit),
    }  # fmt: skip
    file = Path(arguments.results) / "onnx-int8.json"
    write_text(file, json.dumps(result, indent=1) + "\n")
    report(result, file)


if __name__ == "__main__":
    main()
