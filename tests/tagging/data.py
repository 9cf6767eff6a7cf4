"""Sentences with tags: a word's stem says what it is, a span is one to three of such words."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..vocabulary import made

KINDS = {"PER": "river", "LOC": "castle"}
OTHERS = ("garden", "letter", "music")
ENDS = ("", "s", "ing", "ness")
TAGS = ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
FAST: dict[str, Any] = {"batch_size": 8, "learning_rate": 3e-3, "save_steps": 0, "device": "cpu"}
COLUMNS: dict[str, Any] = {"text_column": ("tokens",), "label_column": "ner_tags"}

Row = tuple[list[str], list[Any]]


def sentences(count: int, seed: int) -> list[Row]:
    """Words, and their tags in IOB2."""
    draw = random.Random(seed)
    rows: list[Row] = []
    for _ in range(count):
        words, tags = [draw.choice(OTHERS)], ["O"]
        while len(words) < draw.randint(4, 9):
            if draw.random() < 0.35:
                kind = draw.choice(list(KINDS))
                for place in range(draw.randint(1, 3)):
                    words.append(KINDS[kind] + draw.choice(ENDS))
                    tags.append(("I-" if place else "B-") + kind)
            words.append(draw.choice(OTHERS) + draw.choice(ENDS))
            tags.append("O")
        rows.append((words, tags))
    return rows


def bioes(tags: Sequence[str], inner: str = "BIES") -> list[str]:
    """The same spans in BIOES, or as another scheme (`inner`) calls its prefixes."""
    made = []
    for i, tag in enumerate(tags):
        if tag == "O":
            made.append(tag)
            continue
        goes_on = i + 1 < len(tags) and tags[i + 1] == f"I-{tag[2:]}"
        place = {("B", True): 0, ("I", True): 1, ("I", False): 2, ("B", False): 3}[tag[0], goes_on]
        made.append(inner[place] + tag[1:])
    return made


def write(file: Path, rows: Sequence[Row], columns: Sequence[str] = ("tokens", "ner_tags")) -> Path:
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    if file.suffix == ".json":
        file.write_text(f"[{','.join(lines)}]", encoding="utf-8")
    else:
        file.write_text("\n".join(lines), encoding="utf-8")
    return file


def read(file: Path) -> list[Row]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [(row["tokens"], row["ner_tags"]) for row in rows]


def save(folder: Path, kind: str = "bert", **changes: Any) -> Path:
    """Below it a pre-trained model without a head, and data to train and to measure on."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train.jsonl", sentences(96, 1))
    write(folder / "val.jsonl", sentences(40, 2))
    made.save(kind, None, folder / "base", **changes)
    return folder


def files(place: Path, **more: Any) -> dict[str, Any]:
    """The options of `finetune` for them."""
    return {"train": place / "train.jsonl", "validation": place / "val.jsonl", **COLUMNS, **FAST, **more}
