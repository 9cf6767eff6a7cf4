"""The texts of rows as what tells rows apart: compared, and written to a file of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.atomic import write_text
from .tasks import PAIR, TEXT

if TYPE_CHECKING:
    from datasets import Dataset

Row = tuple[Any, ...]  # a text, or two; each a string, or the words of one as a tuple


def rows_of(data: Dataset) -> list[Row]:
    """What the rows of a split (see `tasks.load_split`) are known by."""
    columns = [list(data[name]) for name in (TEXT, PAIR) if name in data.column_names]
    return [
        tuple(tuple(text) if isinstance(text, list) else text for text in row) for row in zip(*columns, strict=True)
    ]


def write_rows(file: Path, rows: Iterable[Row], columns: Sequence[str] = (TEXT, PAIR)) -> None:
    """JSON lines; words are lists again. Of `columns` there may be more than the rows have."""
    lines = [json.dumps(dict(zip(columns, row, strict=False)), ensure_ascii=False) for row in rows]
    write_text(file, "\n".join(lines) + "\n")
