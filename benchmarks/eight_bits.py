"""What 8 bits take from a model: the files of `factcli export`, beside those of the quantizers' own defaults.

    python benchmarks/eight_bits.py --model DIR... --data-dir GLUE [--task sst2] [--work DIR]
        [--results recipes/results]

Each DIR is a model for the task, dense or factorized. From its graph come files for OpenVINO, calibrated on 300
training texts: as NNCF makes them for transformers; with the ranges of all texts instead of their mean; with as much
SmoothQuant as the texts show to be best besides; and of the graph whose factors are rotated, which is what `factcli
export` writes. And for ONNX Runtime, dynamic: of the graph as it is, and rotated. The same layers stay in floating
point in all of them.

Error: the distance of the answers to the validation texts from the float32 model's, relative to their norm. Writes
RESULTS/eight-bits.json and .md. DIR stays as it is.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import runs
import torch
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

import factcli
from factcli.files.atomic import write_text
from factcli.models import cpus
from factcli.models.model import find_model
from factcli.recipe.running import Data, Exporting
from factcli.runtimes import Made, formats
from factcli.runtimes.checking import rows_of
from factcli.runtimes.evening import even
from factcli.runtimes.extras import versions
from factcli.runtimes.formats import Batch
from factcli.runtimes.graph import OPSET, graph_of
from factcli.runtimes.harm import harmed
from factcli.runtimes.make import fit_of
from factcli.runtimes.rows import read_rows
from factcli.runtimes.silence import silent

WAYS = {
    ("openvino", "default"): "OpenVINO, NNCF's default",
    ("openvino", "ranges"): "OpenVINO, ranges of all texts",
    ("openvino", "smoothed"): "OpenVINO, SmoothQuant chosen besides",
    ("openvino", "ours"): "OpenVINO, rotated besides: factcli",
    ("onnx", "plain"): "ONNX Runtime",
    ("onnx", "ours"): "ONNX Runtime, rotated: factcli",
}
Row = dict[str, Any]


def make(folder: Path, task: str, data_dir: str, work: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """Each way and its file, below `work`, as they are made."""
    source = find_model(str(folder), accept_factorized=True)
    loaded = source.load(torch.float32)
    fit = fit_of(source, loaded)
    graph = graph_of(source, loaded.model, fit)
    how = Exporting(format=("openvino",), precision=("int8",), calibration=task)
    rows = list(rows_of(graph, fit, read_rows(how, Data(data_dir=data_dir), fit, source.config, None).calibrate, 1))
    plain, turned = work / "plain.onnx", work / "turned.onnx"
    graph.write(plain, OPSET)
    even(loaded.model)
    graph.write(turned, OPSET)
    spared = harmed(plain, rows)
    for way in WAYS:
        backend, what = way
        file = work / f"{what}.{'xml' if backend == 'openvino' else 'onnx'}"
        if what in ("default", "ranges"):
            by_nncf(plain, file, what == "ranges", rows, spared)
        else:
            formats[backend].write(Made(turned if what == "ours" else plain, rows, spared), "int8", file)
        yield way, file


def by_nncf(graph: Path, file: Path, all_texts: bool, rows: list[Batch], spared: frozenset[str]) -> None:
    model = openvino.Core().read_model(graph)
    names = {node.get_friendly_name() for node in model.get_ops()}
    more = {"activations_range_estimator_params": RangeEstimatorParametersSet.MINMAX} if all_texts else {}
    fix = OverflowFix.DISABLE if cpus.signed() else OverflowFix.ENABLE
    with silent():
        made = nncf.quantize(
            model, nncf.Dataset([dict(row) for row in rows]), model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(rows), advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix, **more),
            ignored_scope=nncf.IgnoredScope(names=sorted((spared | {f"{n}/WithoutBiases" for n in spared}) & names)),
        )  # fmt: skip
    openvino.save_model(made, file, compress_to_fp16=False)


def measure(folder: Path, task: str, data_dir: str, work: Path) -> list[Row]:
    """A row a way; the first is the float32 model."""
    source = find_model(str(folder), accept_factorized=True)
    loaded = source.load(torch.float32)
    fit = fit_of(source, loaded)
    graph = graph_of(source, loaded.model, fit)
    table = Path(data_dir) / task / "validation.parquet"
    how = Exporting(format=("openvino",), calibration=str(table), calibration_samples=10**6)
    texts = read_rows(how, Data(), fit, source.config, None).calibrate
    batches = list(rows_of(graph, fit, texts, 1))
    exact = [graph.run(batch)["logits"] for batch in batches]
    (scored,) = factcli.evaluate(str(folder), task=task, data_dir=data_dir)
    found: list[Row] = [{"model": folder.name, "way": "float32", "accuracy": scored["metrics"]["accuracy"]}]
    for (backend, what), file in make(folder, task, data_dir, work):
        place = folder / backend / file.name
        place.parent.mkdir(exist_ok=True)
        for part in formats[backend].parts(file):
            shutil.copy(part, place.parent)
        session = formats[backend].open(place)
        apart = sum(float(np.square(e - session.run(b)["logits"]).sum()) for e, b in zip(exact, batches, strict=True))
        (scored,) = factcli.evaluate(
            str(folder), task=task, data_dir=data_dir, backend=backend, file=place.relative_to(folder).as_posix()
        )
        error = (apart / sum(float(np.square(e).sum()) for e in exact)) ** 0.5
        found.append({
            "model": folder.name, "way": WAYS[backend, what], "error": round(error, 5),
            "accuracy": scored["metrics"]["accuracy"], "rows": len(batches),
        })  # fmt: skip
        runs.say(f"{folder.name} {found[-1]}")
    return found


def report(result: dict[str, Any], file: Path) -> None:
    lines = [
        "# What 8 bits take", "",
        f"Error of the answers to {result['rows'][1]['rows']} texts of {result['task']} that were not calibrated on, "
        "relative to the float32 model's; accuracy on",
        f"them. Made by `benchmarks/eight_bits.py` on a CPU with {', '.join(result['cpu'])}; "
        f"{', '.join(f'{k} {v}' for k, v in result['runtimes'].items())}.", "",
        "| model | file | error | accuracy |", "|---|---|---|---|",
        *(
            f"| {r['model']} | {r['way']} | {'' if 'error' not in r else format(r['error'], '.3f')} | "
            f"{100 * r['accuracy']:.2f} |" for r in result["rows"]
        ),
    ]  # fmt: skip
    write_text(file.with_suffix(".md"), "\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--work")
    parser.add_argument("--results", default="recipes/results")
    parser.add_argument("--commit")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for given in map(Path, arguments.model):
        with tempfile.TemporaryDirectory(prefix="factcli-8-", dir=arguments.work) as work:
            folder = Path(work) / given.resolve().name
            shutil.copytree(given, folder, ignore=shutil.ignore_patterns("onnx", "openvino"))
            rows += measure(folder, arguments.task, arguments.data_dir, Path(work))
    result = {
        "task": arguments.task, "rows": rows, "cpu": list(cpus.instructions()),
        "runtimes": versions("openvino") | versions("onnx"), **runs.record(arguments.commit),
    }  # fmt: skip
    file = Path(arguments.results) / "eight-bits.json"
    write_text(file, json.dumps(result, indent=1) + "\n")
    report(result, file)


if __name__ == "__main__":
    main()
