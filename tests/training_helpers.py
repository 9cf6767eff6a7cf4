"""Tiny models with tokenizers, and generated tasks: one that can be learnt, one that cannot."""

import csv
import json
import random
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import factcli

from .processes import Python
from .tiny import make

WORDS = [f"w{i}" for i in range(90)]
FAST: dict[str, Any] = {"batch_size": 16, "learning_rate": 4e-3, "save_steps": 0, "device": "cpu"}
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def stage_steps(schedule: str, steps: int) -> dict[str, Any]:
    """The option of that name, for the schedule that has stages."""
    return {"stage_steps": steps} if schedule == "staged" else {}


def save_tokenizer(folder: Path) -> None:
    """A word-level tokenizer: 4 special tokens, then WORDS and "good", "bad", "sentence1:" and the like as unknown."""
    vocabulary = {word: i for i, word in enumerate((*_SPECIAL, *WORDS, "good", "bad", "no", "yes"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]",
        eos_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip


def save_model(folder: Path, kind: str = "bert", head: str | None = None, **changes: Any) -> Path:
    """A tiny pre-trained model in a directory: the base model, unless `head` names a class."""
    ids = {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1} if kind != "bert" else {}
    if kind == "t5":
        ids = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    model = make(kind, head, **(ids | changes))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def rows(count: int, seed: int, learnable: bool = True, share: float = 0.5) -> list[tuple[str, str]]:
    """(text, label): "good" in the text makes it yes, "bad" no; unlearnable, the label is a draw. `share` are yes."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        yes = draw.random() < share
        words = draw.choices(WORDS, k=draw.randint(3, 12))
        mark = ("good" if yes else "bad") if learnable else draw.choice(("good", "bad"))
        words.insert(draw.randrange(len(words)), mark)
        made.append((" ".join(words), "yes" if yes else "no"))
    return made


def write_csv(path: Path, data: list[tuple[str, ...]], columns: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(data)
    return path


def write_glue(folder: Path, task: str, train: int = 128, validation: int = 64, **kinds: Any) -> Path:
    """A data directory with a learnable mrpc-like or sst2-like task of generated data."""
    (folder / task).mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", train, 1), ("validation", validation, 2)):
        data = rows(count, seed, **kinds)
        label = pa.array([int(label == "yes") for _, label in data], pa.int64())
        texts = pa.array([text for text, _ in data])
        if task == "sst2":
            table = pa.table({"sentence": texts, "label": label})
        else:
            table = pa.table({"sentence1": texts, "sentence2": pa.array(["w1 w2"] * count), "label": label})
        pq.write_table(table, folder / task / f"{split}.parquet")
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    """True if two exports have the same weights, bit for bit."""
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


_KILLED = """
import json, os, signal, sys
import factcli

model, output, options, kind, step, there = json.loads(sys.argv[1])

def watch(event):
    if (event.kind, event.step) == (kind, step) and os.path.exists(there):
        os.kill(os.getpid(), signal.SIGKILL)

factcli.finetune(model, output, **options, watch=watch)
"""


def train_and_be_killed(
    python: Python, model: Path, output: Path, options: dict[str, Any], kind: str, step: int, there: str | Path = "/"
) -> None:
    """factcli.finetune in a process that is killed at the event of that kind and step; not before `there` exists."""
    asked = json.dumps([model, output, options, kind, step, there], default=str)
    done = python.run("-c", _KILLED, asked)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not output.exists()


def teach(place: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
    """Below `place`: a base model, a task, a teacher that was trained on it, and a cache of its own."""
    monkeypatch.setenv("FACTCLI_CACHE", str(place / "cache"))
    save_model(place / "base")
    write_glue(place / "glue", "sst2", train=96)
    factcli.finetune(str(place / "base"), place / "teacher", task="sst2", data_dir=place / "glue", **how, **FAST)
