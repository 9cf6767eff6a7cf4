"""Tiny students, teachers and texts without labels."""

import json
from pathlib import Path
from typing import Any

import factcli

from ..training_helpers import rows, save_model

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def pooled(folder: Path, mode: str = "mean_tokens", size: int = 32) -> Path:
    """Make an embedding model of sentence-transformers of the model in a directory."""
    (folder / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": size, f"pooling_mode_{mode}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(MODULES))
    return folder


def write_texts(file: Path, count: int = 80, seed: int = 3) -> Path:
    """A text a line, all different."""
    file.write_text("".join(f"{text} w{i}\n" for i, (text, _) in enumerate(rows(count, seed))))
    return file


def save_teacher(place: Path, name: str, head: str | None = None, **changes: Any) -> Path:
    """A tiny model with a head, or an embedding model, and beside it a small one that was made of it."""
    folder = save_model(place / name, "bert", head, initializer_range=0.3, **changes)  # or factors change nothing
    if head is None and name == "embedding":
        pooled(folder)
    factcli.convert(str(folder), place / f"{name}-small", keep=0.3)
    return folder
