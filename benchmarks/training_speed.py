"""Speed of a training step, as ratios within one run, and the time until the first one.

    python benchmarks/training_speed.py [--steps 12] [--threads 1] [--layers 12] [--smoke]

On a BERT-base shape (random weights, batch 32, 128 tokens, AdamW, linear decay, float32 on a CPU, bf16 autocast on a
GPU): finetune's step against a bare PyTorch loop with the same model, batches, optimizer and precision (bar: at most
1.10); dense against low-rank at 25 % of the targets (bar: at least 1.3 times as fast); a mixed-rank step against the
direct one of the same factors (bar: at most 2.2); a distilled step against a direct one and a forward pass of the
teacher (bar: at most 1.1). Steps of the variants alternate in rounds, so that a busy machine slows all alike; medians
are compared. Then the seconds from the start of the command to its first training step, on a small model and cached
data (bar: 15). Exits with 1 where a bar is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

BATCH, LENGTH = 32, 128
SHAPE: dict[str, Any] = {}  # what differs from BERT-base


def save_inputs(folder: Path, layers: int, rows: int) -> Path:
    """A model, a tokenizer and an sst2-like task whose every example fills the length."""
    torch.manual_seed(0)
    model = folder / f"bert-{layers}"
    BertModel(BertConfig(num_hidden_layers=layers, **SHAPE)).save_pretrained(model)
    teacher = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **SHAPE))
    teacher.save_pretrained(teacher_of(model))
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{i}" for i in range(1000))])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    for place in (model, teacher_of(model)):
        tokenizer.save_pretrained(place)
    (folder / "glue" / "sst2").mkdir(parents=True, exist_ok=True)
    text = [" ".join(f"w{(i * 7 + j) % 1000}" for j in range(LENGTH)) for i in range(rows)]
    for split in ("train", "validation"):
        table = pa.table({"sentence": text, "label": [i % 2 for i in range(rows)]})
        pq.write_table(table, folder / "glue" / "sst2" / f"{split}.parquet")
    return model


def teacher_of(model: Path) -> Path:
    return model.with_name(f"{model.name}-teacher")


def forward(layers: int, device: torch.device) -> Iterator[float]:
    """Seconds of each forward pass of a teacher, as distillation asks for it."""
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **SHAPE)).to(device).eval()
    ids = torch.randint(4, 1000, (BATCH, LENGTH), device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    while True:
        started = time.perf_counter()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            model(**batch, output_hidden_states=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter() - started


def bare(folder: Path, layers: int, device: torch.device) -> Iterator[float]:
    """Seconds of each step of a plain loop."""
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=layers, **SHAPE)).to(device).train()
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=device.type == "cuda")
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 1, 1000)
    ids = torch.randint(4, 1000, (BATCH, LENGTH), device=device)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    labels = torch.arange(BATCH, device=device) % 2
    while True:
        started = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(**batch, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.zero_grad()
        float(loss.detach())
        yield time.perf_counter() - started


def ours(folder: Path, model: Path, device: torch.device, threads: int, **plan: Any) -> Iterator[float]:
    """Seconds of each step of `finetune`, which runs in a thread and takes a step when it is asked for one."""
    from factcli.commands.finetune import finetune

    go, done, laps = threading.Semaphore(0), threading.Semaphore(0), []

    def watch(event: Any) -> None:
        if event.kind == "step":
            if device.type == "cuda":
                torch.cuda.synchronize()
            laps.append(time.perf_counter())
            done.release()
            go.acquire()
            laps.append(time.perf_counter())

    def run() -> None:
        torch.set_num_threads(threads)  # is of each thread
        finetune(
            str(model), folder / f"out-{plan.get('schedule')}-{len(plan)}", task="sst2", data_dir=folder / "glue",
            max_steps=10_000, batch_size=BATCH, max_length=LENGTH, save_steps=0, device=str(device), watch=watch,
            **plan,
        )  # fmt: skip

    threading.Thread(target=run, daemon=True).start()
    done.acquire()
    while True:
        go.release()
        done.acquire()
        yield laps[-1] - laps[-2]


def first_step(folder: Path, model: Path) -> float:
    """Seconds from the start of the command to its first step."""
    command = [
        sys.executable,
        "-m",
        "factcli",
        "finetune",
        str(model),
        "--task",
        "sst2",
        "--data-dir",
        str(folder / "glue"),
    ]
    command += ["--max-steps", "1", "--batch-size", "1", "--save-steps", "0", "-o", str(folder / "first")]
    started = time.perf_counter()
    said = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("step 1/1"):
                return time.perf_counter() - started
    raise SystemExit(f"the command ended before its first step: {''.join(said[-5:])}")


def main() -> None:
    global BATCH, SHAPE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--smoke", action="store_true", help="the smallest run, without bars: does it run?")
    given = parser.parse_args()
    if given.smoke:
        BATCH, given.steps, given.layers = 4, 1, 1
        SHAPE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    torch.set_num_threads(given.threads)
    transformers.logging.set_verbosity_error()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = save_inputs(folder, 2, 256)
        seconds = first_step(folder, small)
        model = save_inputs(folder, given.layers, 10 * BATCH)
        plan = {"method": "low-rank", "keep": 0.25}
        variants = {
            "bare": bare(folder, given.layers, device),
            "dense": ours(folder, model, device, given.threads),
            "low-rank": ours(folder, model, device, given.threads, schedule="direct", **plan),
            "mixed-rank": ours(folder, model, device, given.threads, schedule="mixed-rank", **plan),
            "taught": ours(
                folder, model, device, given.threads, schedule="direct", teacher=str(teacher_of(model)), **plan
            ),
            "teacher": forward(given.layers, device),
        }
        laps: dict[str, list[float]] = {name: [] for name in variants}
        for step in range(given.steps + 2):
            for name, lap in variants.items():
                took = next(lap)
                if step >= 2:  # after warm-up
                    laps[name].append(took)
    medians = {name: statistics.median(values) for name, values in laps.items()}
    overhead, speedup = medians["dense"] / medians["bare"], medians["dense"] / medians["low-rank"]
    mixed = medians["mixed-rank"] / medians["low-rank"]
    taught = medians["taught"] / (medians["low-rank"] + medians["teacher"])
    result = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": given.threads,
        "layers": given.layers,
        "step_seconds": {name: round(value, 4) for name, value in medians.items()},
        "finetune_over_bare": {"ratio": round(overhead, 3), "bar": 1.10},
        "low_rank_speedup": {"ratio": round(speedup, 3), "bar": 1.3},
        "mixed_rank_over_direct": {"ratio": round(mixed, 3), "bar": 2.2},
        "taught_over_direct_and_teacher": {"ratio": round(taught, 3), "bar": 1.1},
        "seconds_to_first_step": {"seconds": round(seconds, 1), "bar": 15},
    }
    print(json.dumps(result, indent=2), flush=True)
    missed = not given.smoke and (overhead > 1.10 or speedup < 1.3 or mixed > 2.2 or taught > 1.1 or seconds > 15)
    sys.stdout.flush()
    os._exit(int(missed))  # the runs in the threads are not awaited


if __name__ == "__main__":
    main()
