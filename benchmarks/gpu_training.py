"""Training and converting on a GPU: MiniLM on the whole of SST-2, and blocks of BERT-large's shape.

    python benchmarks/gpu_training.py training|conversions MODEL --data-dir GLUE [--device cuda] [--smoke]
        [--results recipes/results]

training: `finetune` of MODEL on SST-2, one epoch of 64 rows a step, and of the dense model that comes of it `kfac` with
the global allocation at 0.25 of its targets, as long: steps per second, accuracy; beside them a bare loop over
batches of the same rows, with the same precision and optimizer.
conversions: `convert` of 8 of BERT-large's 24 blocks with random weights, on the device and on the CPU: seconds.

Writes RESULTS/gpu-PART.json and .md, anew after each row.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import runs
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from factcli.files.atomic import write_text

Result = dict[str, Any]
BATCH, RATE = 64, "5e-5"


def factcli(*words: str, cache: Path) -> Result:
    """What a command prints with --json, and the "wall" seconds of its process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "factcli", *words, "--json"]
    environment = os.environ | {"FACTCLI_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:2])} failed: {done.stderr[-2000:]}")
    found: Result = json.loads(done.stdout)
    return found | {"wall": time.perf_counter() - started}


def bare(model: str, data_dir: str, device: torch.device, steps: int) -> float:
    """Steps per second of a plain loop: bfloat16 autocast on a GPU, fused AdamW, padded to the longest of the batch."""
    rows = pq.read_table(Path(data_dir) / "sst2" / "train.parquet").slice(0, BATCH * steps)
    tokenizer = AutoTokenizer.from_pretrained(model)
    made = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).to(device).train()
    groups = [
        {"params": [p for p in made.parameters() if (p.ndim > 1) == decays], "weight_decay": 0.01 * decays}
        for decays in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups, lr=float(RATE), fused=True)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 1, 10 * steps)
    encoded = tokenizer(rows["sentence"].to_pylist(), truncation=True, max_length=128)
    labels, laps = rows["label"].to_pylist(), []
    for at in range(0, len(labels), BATCH):
        started = time.perf_counter()
        batch = tokenizer.pad({k: v[at : at + BATCH] for k, v in encoded.items()}, return_tensors="pt").to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = made(**batch, labels=torch.tensor(labels[at : at + BATCH], device=device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        made.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        laps.append(time.perf_counter() - started)
    return 1 / statistics.mean(laps[len(laps) // 5 :])


def train(model: str, data_dir: str, device: torch.device, smoke: bool, work: Path) -> Iterator[Result]:
    """One epoch, dense and of what is made of it."""
    common = ["--task", "sst2", "--data-dir", data_dir, "--batch-size", str(BATCH), "--device", str(device)]
    common += ["--max-steps", "3"] if smoke else ["--epochs", "1"]
    common += ["--save-steps", "0", "--seed", "0"]
    dense = str(work / "dense")
    for keep in (None, "0.25"):
        words = ["finetune", model if keep is None else dense, *common]
        if keep is not None:
            words += ["--keep", keep, "--criterion", "kfac", "--allocation", "global", "--schedule", "direct"]
        words += ["--learning-rate", RATE if keep is None else "1e-4"]
        words += ["-o", dense if keep is None else str(work / keep)]
        found = factcli(*words, cache=work / "cache")
        yield {"keep": keep, "steps": found["steps"], "seconds": found["seconds"], "wall": found["wall"],
               "steps_per_second": found["steps"] / found["seconds"], "metrics": found["metrics"]}  # fmt: skip


def conversions(model: str, data_dir: str, device: torch.device, smoke: bool, work: Path) -> Iterator[Result]:
    """Blocks of BERT-large's shape, seconds on the device and on the CPU."""
    shape = (
        {"num_hidden_layers": 1, "vocab_size": 1000}
        if smoke
        else {"hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16, "intermediate_size": 4096}
    )
    source = work / "large"
    torch.manual_seed(0)
    BertModel(BertConfig(**shape)).save_pretrained(source)
    AutoTokenizer.from_pretrained(model).save_pretrained(source)
    texts = work / "texts.txt"
    lines = pq.read_table(Path(data_dir) / "sst2" / "train.parquet").slice(0, 128)["sentence"].to_pylist()
    texts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    cases = {
        "low-rank": ["--method", "low-rank"],
        "monarch": ["--method", "monarch"],
        "low-rank, kfac, global": ["--criterion", "kfac", "--allocation", "global", "--calibration", str(texts)],
    }
    if smoke:
        cases = {"low-rank": cases["low-rank"]}
    for name, chosen in cases.items():
        row: Result = {"case": name}
        for on in dict.fromkeys((str(device), "cpu")):
            words = ["convert", str(source), "-o", str(work / "out"), "--overwrite", "--keep", "0.25", "--device", on]
            found = factcli(*words, *chosen, cache=work / f"cache-{on}")
            row[on.partition(":")[0]] = {"wall": found["wall"]}
        yield row


def markdown(result: Result) -> str:
    rows = result["rows"]
    made = f"Made by `{result['command']}` (torch {result['versions']['torch']}, {result['date'][:10]})."
    if "case" in rows[0]:
        devices = [k for k in rows[0] if k != "case"]
        lines = [f"# Converting on {result['device']}", "", made, ""]
        lines += ["8 of BERT-large's 24 blocks, random weights, keep 0.25: seconds of the whole `convert`.", ""]
        lines += ["| | " + " | ".join(devices) + " |", "|---" * (1 + len(devices)) + "|"]
        lines += [f"| {r['case']} | " + " | ".join(f"{r[d]['wall']:.1f}" for d in devices) + " |" for r in rows]
        return "\n".join(lines) + "\n"
    lines = [f"# Training on {result['device']}", "", made, "", f"MiniLM on SST-2, {BATCH} rows a step, one epoch.", ""]
    lines += [
        "| kept of the targets | steps | steps per second | seconds of the command | accuracy |",
        "|---" * 5 + "|",
    ]
    for r in rows:
        name = "dense" if r["keep"] is None else f"{r['keep']}, kfac global"
        cells = f"{r['steps']} | {r['steps_per_second']:.1f} | {r['wall']:.0f} | {r['metrics']['accuracy']:.4f}"
        lines.append(f"| {name} | {cells} |")
    lines += ["", f"A bare loop over the same rows: {result['bare_steps_per_second']:.1f} steps per second."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("training", "conversions"))
    parser.add_argument("model")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="a few steps only: does it run?")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "recipes" / "results")
    args = parser.parse_args()
    device = torch.device(args.device)
    transformers.logging.set_verbosity_error()
    args.results.mkdir(parents=True, exist_ok=True)
    file = args.results / f"gpu-{args.part}.json"
    on_gpu = device.type == "cuda"
    result: Result = runs.record(None) | {
        "device": torch.cuda.get_device_name(device) if on_gpu else "a CPU",
        "command": "benchmarks/gpu.sh" if on_gpu else "benchmarks/gpu.sh --device cpu --smoke",
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.part == "training":
            result["bare_steps_per_second"] = bare(args.model, args.data_dir, device, 5 if args.smoke else 200)
        part = train if args.part == "training" else conversions
        for row in part(args.model, args.data_dir, device, args.smoke, Path(folder)):
            result.setdefault("rows", []).append(row)
            write_text(file, json.dumps(result, indent=1) + "\n")
            write_text(file.with_suffix(".md"), markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
