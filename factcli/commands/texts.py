"""The texts of a comparison: which calibrate, which heal, which compare; none that compares does anything else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.tasks import GLUE, Task, load_split, user_task
from ..data.text_rows import Row, rows_of, write_rows
from ..data.unlabelled import unlabelled_task
from ..errors import FactcliError
from ..files.atomic import write_text
from ..models.model import Model
from ..models.purpose import EMBEDDING, find_purpose
from ..notes import note
from ..recipe.running import Held, Ways
from ..recipe.values import TASKS
from ..vocabulary.texts import read_texts

TEXTS, HELD_OUT, HEAL, VOCABULARY = "texts.jsonl", "held-out.jsonl", "heal.jsonl", "vocabulary.txt"


@dataclass(frozen=True)
class Texts:
    """The data of a run: what `convert` and `export` are told to calibrate on, what is trained on to heal, and what
    tells which tokens stay."""

    calibration: dict[str, Any]
    heal: Path | None = None
    vocabulary: Path | None = None


def texts_of(source: Model, held: Held, ways: Ways, work: Path) -> Texts:
    """The texts to calibrate on, to heal on and to take tokens from, none of which is one that models are held to
    without labels; written to `work` where they are a part of a file. With labels, none of the texts to heal on or to
    take tokens from is one of those with them.

    Raises FactcliError for files that cannot be read, and texts of which nothing is left.
    """
    columns: dict[str, Any] = {"text_column": held.text_column} if held.text_column else {}
    apart = find_purpose(source).kind == EMBEDDING
    others = set[Row]()
    if held.task is None and held.validation is None:
        task = unlabelled_task(str(held.calibration), None, held.text_column, apart, 0)
        rows = _rows(task, "train", apart)
        held_out = _rows(task, task.validation, apart)
        write_rows(work / TEXTS, rows)
        write_rows(work / HELD_OUT, held_out)
        note(f"{len(held_out)} of the texts are held out and compare with the dense model; {len(rows)} calibrate.")
        others = set(held_out)
        calibration: dict[str, Any] = {"calibration": str(work / TEXTS)}
    elif held.calibration is None or held.calibration in TASKS:
        data = {} if held.data_dir is None else {"data_dir": held.data_dir}
        calibration = {"calibration": held.calibration or held.task, **data}
    else:
        calibration = {"calibration": str(held.calibration), **columns}
    if ways.heal is None and ways.vocabulary is None:
        return Texts(calibration)
    if held.validation is not None:
        others = set(_rows(user_task({"train": held.validation}, held.text_column, None), "train", apart))
    elif held.task is not None:
        others = set(_rows(GLUE[held.task], GLUE[held.task].validation, apart, held.data_dir))
    return Texts(
        calibration,
        None if ways.heal is None else _healing(held, ways.heal, others, apart, work / HEAL),
        None if ways.vocabulary is None else _vocabulary(held, ways.vocabulary, others, work / VOCABULARY),
    )


def _healing(held: Held, heal: str | Path, others: set[Row], apart: bool, file: Path) -> Path:
    """`file`, with the rows of `heal` that are not among `others`."""
    found = _rows(user_task({"train": heal}, held.text_column, None), "train", apart)
    rows = [row for row in found if row not in others]
    if len(set(rows)) < 2:
        raise FactcliError(f"--heal {heal} has no texts beside those that are held out: give others, and more.")
    if len(rows) < len(found):
        note(f"{len(found) - len(rows)} of the texts of {heal} compare the models, and heal none.")
    write_rows(file, rows)
    return file


def _vocabulary(held: Held, texts: str | Path, others: set[Row], file: Path) -> Path:
    """`file`, with the texts of the file `texts` that are not among `others`, a line each."""
    known = {text for row in others for text in row}
    found = read_texts(str(texts), held.text_column, shared=True)
    stay = [text for text in found if text not in known]
    if not stay:
        raise FactcliError(f"--vocabulary {texts} has no texts beside those that are held out: give others, and more.")
    if len(stay) < len(found):
        note(f"{len(found) - len(stay)} of the texts of {texts} compare the models, and keep no token.")
    write_text(file, "".join(" ".join(text.splitlines()) + "\n" for text in stay))
    return file


def _rows(task: Task, split: str, apart: bool, data_dir: str | Path | None = None) -> list[Row]:
    """Those that hold any text; with `apart` the texts of a pair are two rows."""
    rows = rows_of(load_split(task, split, data_dir, skip_blank=True))
    return [(text,) for row in rows for text in row if text] if apart else rows
