"""The texts on which candidates learn from the dense model: none of those that choose or report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.tables import stem
from ..data.tasks import load_split, user_task
from ..data.text_rows import Row, rows_of, write_rows
from ..errors import FactcliError
from ..models.model import Model
from ..models.purpose import EMBEDDING, decodes, find_purpose
from ..notes import note
from .judging import Judge

LEAST = 2  # different texts: one to learn on, one to say how well


@dataclass(frozen=True)
class Healing:
    """Candidates learn for so many `steps` on the texts of a `file`: its `rows`, which have a value for each of the
    `columns`. `named` says whether the columns were given, and not found."""

    file: Path
    steps: int
    columns: tuple[str, ...]
    named: bool
    rows: Sequence[Row]

    def apart(self, source: Model, judging: Judge) -> "Healing":
        """Without the rows that choose or report, of which it is said how many there were; an embedding model learns
        on each text of a pair by itself. Raises FactcliError where too few are left."""
        new = self
        if len(self.columns) == 2 and find_purpose(source).kind == EMBEDDING:
            singles = [(text,) for row in self.rows for text in row]
            new = replace(self, columns=self.columns[:1], named=True, rows=singles)
            note(f"Both columns of {self.file} are read as texts by themselves.")
        held = judging.holds(new.rows)
        rows = [row for row, there in zip(new.rows, held, strict=True) if not there]
        if len(set(rows)) < LEAST:
            raise FactcliError(
                f"--heal {self.file} has no texts beside those that choose and report: give others, and more."
            )
        if left_out := sum(held):
            note(f"{left_out} texts of {self.file} are among those that choose or report: no candidate learns on them.")
        return replace(new, rows=rows)

    def write(self, folder: Path) -> Path:
        """The texts alone, in a file of its own."""
        folder.mkdir(exist_ok=True)
        file = folder / f"{stem(self.file)}.jsonl"
        write_rows(file, self.rows, self.columns)
        return file


def read_healing(file: str | Path, steps: int, text_column: Sequence[str]) -> Healing:
    """What candidates learn on. Raises FactcliError for a file that cannot be read, or whose texts are all the same."""
    path = Path(file).expanduser()
    task = user_task({"train": path}, text_column, None)
    rows = rows_of(load_split(task, "train", skip_blank=True))
    if len(set(rows)) < LEAST:
        raise FactcliError(
            f"The texts of --heal {file} are all the same: give different ones, as the model reads them."
        )
    return Healing(path, steps, task.columns, bool(text_column) or task.pair, rows)


def options_for(source: Model) -> dict[str, Any]:
    """What the training is told of a source. Raises UsageError for one that cannot learn without labels."""
    from ..training.unlabelled import to_learn  # what trains is not imported before it is asked for

    to_learn(source)
    return {"hidden_weight": 0.0} if decodes(source.model_class) else {}  # of which logits alone are learnt
