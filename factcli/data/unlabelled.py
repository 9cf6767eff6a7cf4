"""Texts without labels, to learn from a teacher on; a share of them is held out."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import FactcliError
from ..notes import note
from .tables import Table, read_table
from .tasks import Task, user_task

HELD_OUT = "held-out"
SHARE, MOST = 0.1, 500  # of the different texts; as many tell two states of a model apart


def has_labels(file: str | Path, column: str) -> bool:
    """Whether a user's file has the column of labels. Raises FactcliError for a file that cannot be read."""
    wanted = column.strip().casefold()
    return any(name.strip().casefold() == wanted for name in read_table(Path(file)).names)


def unlabelled_task(
    train: str | Path, validation: str | Path | None, text_columns: Sequence[str], apart: bool, seed: int
) -> Task:
    """A task over texts alone. Held out are those of `validation`, or a share of `train`, drawn with `seed` so that no
    text is on both sides. With `apart` the texts of a pair count as two.

    Raises FactcliError for files that cannot be read, and too few different texts.
    """
    files: dict[str, str | Path | Table] = {"train": train, **({"validation": validation} if validation else {})}
    task = user_task(files, text_columns, None)
    tables: dict[str, Table] = {}
    for split in files:
        read = task.files[split]
        tables[split] = _texts(read if isinstance(read, Table) else read_table(read), task.columns, apart)
    if apart and task.pair:
        task = replace(task, columns=task.columns[:1])
        note(f"Both columns of {train} are read as texts by themselves.")
    rows = _rows(tables["train"])
    if len(set(rows)) < 2:
        raise FactcliError(f"The texts of {train} are all the same: give different ones, as the model will read them.")
    if validation is not None:
        return replace(task, files=tables)
    held = _held_out(rows, seed)
    table = tables["train"]
    parts = {
        "train": _take(table, [i for i, row in enumerate(rows) if row not in held]),
        HELD_OUT: _take(table, [i for i, row in enumerate(rows) if held.pop(row, False)]),  # each of them once
    }
    return replace(task, files=parts, paths=dict.fromkeys(parts, task.paths["train"]), validation=HELD_OUT)


def _held_out(rows: Sequence[tuple[str, ...]], seed: int) -> dict[tuple[str, ...], bool]:
    different = list(dict.fromkeys(rows))
    count = min(MOST, max(1, round(SHARE * len(different))))
    return dict.fromkeys(random.Random(seed).sample(different, count), True)


def _rows(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*([str(v) for v in table.values(name)] for name in table.names), strict=True))


def _texts(table: Table, columns: Sequence[str], apart: bool) -> Table:
    """The columns of texts alone; one below the other where they are to be read `apart`."""
    found = [table.find(name, "--text-column") for name in columns]
    values = [table.values(name) for name in found]
    if apart and len(values) == 2:
        joined = [text for pair in zip(*values, strict=True) for text in pair]
        return replace(table, names=(found[0],), columns=(joined,), rows=len(joined), classes={})
    return replace(table, names=tuple(found), columns=tuple(values), classes={})


def _take(table: Table, rows: Sequence[int]) -> Table:
    return replace(table, columns=tuple([column[i] for i in rows] for column in table.columns), rows=len(rows))
