"""Tasks: GLUE by name and the user's own files. Where the data is, its columns, metrics and label names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FactcliError, UsageError
from ..hub.data import commit_of
from ..notes import note
from ..recipe.registry import Registry
from ..recipe.rules import without_effect
from .hub_sets import read_hub
from .label_columns import check_labelled, class_names, ids, numbers, read_labels, vectors
from .schemes import marks_spans
from .tables import Table, kind_of, read_table, rows_have, stem
from .tagging import ADVICE, holds_words, read_tags, read_words, rows_with_words, tag_names

if TYPE_CHECKING:
    from datasets import Dataset

HUB_ID = "nyu-mll/glue"
TEXT, PAIR, LABEL = "text", "text_pair", "label"
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
TAGGING = "token_classification"  # which configurations of transformers do not say: the class of the model does
RETRIEVAL = "retrieval"
CORRECT = "correct it, or leave such rows out"
SPANS = ("f1", "precision", "recall", "accuracy")  # of spans that tags mark


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    `columns` are the one or two text columns as the data names them, `label` the label column (None: text only).
    `labels` are the names of the classes, by id; empty for a regression and for text only. `metrics` are by
    scores/metrics, the first one is the main one. `problem_type` is SINGLE (a class a row), MULTI (any number of them)
    or REGRESSION, as transformers' configurations call them, or TAGGING (a tag for each of a row's words); RETRIEVAL
    has no rows (see data/retrieval). `files` are the user's own, by split (or tables that are read already), `paths`
    where those lie that are files; without them the data are GLUE's `folder`.

    For users' files: `multi_hot` labels are lists with a 0 or 1 for each class; `numbered` labels may be ids of the
    names; `advice` is what to do about a label that is not known.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    label: str | None = "label"
    problem_type: str = SINGLE
    validation: str = "validation"
    folder: str = ""
    files: Mapping[str, Path | Table] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)
    multi_hot: bool = False
    numbered: bool = False
    advice: str = CORRECT

    @property
    def pair(self) -> bool:
        return len(self.columns) == 2

    @property
    def regression(self) -> bool:
        return self.problem_type == REGRESSION

    @property
    def multi_label(self) -> bool:
        return self.problem_type == MULTI

    @property
    def tagging(self) -> bool:
        return self.problem_type == TAGGING

    @property
    def head(self) -> str:
        """How the names end of transformers' classes that answer it with a head."""
        return "ForTokenClassification" if self.tagging else "ForSequenceClassification"


GLUE: Registry[Task] = Registry("task", "--task")
_ENTAILMENT = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")
_SENTENCES = ("sentence1", "sentence2")

# Label names by id as in nyu-mll/glue; metrics as in Wang et al. 2019, GLUE, section 3.
for _task in (
    Task("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
    Task("sst2", ("sentence",), ("negative", "positive")),
    Task("mrpc", _SENTENCES, ("not_equivalent", "equivalent"), ("accuracy", "f1")),
    Task("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
    Task("stsb", _SENTENCES, (), ("pearson", "spearman"), problem_type=REGRESSION),
    Task("mnli", ("premise", "hypothesis"), _NLI, validation="validation_matched"),
    Task("mnli-mm", ("premise", "hypothesis"), _NLI, validation="validation_mismatched", folder="mnli"),
    Task("qnli", ("question", "sentence"), _ENTAILMENT),
    Task("rte", _SENTENCES, _ENTAILMENT),
    Task("wnli", _SENTENCES, ("not_entailment", "entailment")),
):
    GLUE.register(_task)


def user_task(
    files: Mapping[str, str | Path | Table],
    text_columns: Sequence[str] = (),
    label_column: str | None = "label",
    labels: Sequence[str] = (),
    regression: bool | None = None,
    *,
    numbered: bool = False,
    advice: str = CORRECT,
    nameable: bool = True,
    tags: Sequence[str] = (),
) -> Task:
    """A task over the user's own files (tables.KINDS) or tables, by split: {"train": …, "validation": …}.

    Without `text_columns` the columns "text" (and "text_pair"), "sentence", "sentence1" and "sentence2" or "tokens" are
    looked for. `label_column` None reads texts alone. Without `labels` the classes are those of the training file (of
    the only file, if there is none): as it names them, else in order. Numbers with a fraction make a regression, unless
    `regression` says; lists of labels make a task with any number of labels a row. `numbered`, `advice`: see Task.
    `nameable`: the user has --label-names. Lists of words make a task of tagging them, of which the labels are those
    that the data have, or `numbered` ones; `tags` are what ids are called that nobody else names.

    Raises FactcliError for what the files lack, UsageError for text columns that cannot be.
    """
    text_columns = (text_columns,) if isinstance(text_columns, str) else text_columns
    if len(text_columns) > 2:
        raise UsageError("Give --text-column once, or twice for sentence pairs.")
    if len(set(text_columns)) < len(text_columns) or (label_column in text_columns):
        raise UsageError("Give a column for each --text-column, and another one for --label-column.")
    if numbered and (len(set(labels)) < len(labels) or not all(labels)):
        raise UsageError(f"--label-names {','.join(labels)} gives a label twice, or an empty one: name each once.")
    given = {split: file if isinstance(file, Table) else Path(file) for split, file in files.items()}
    paths = {split: file for split, file in given.items() if isinstance(file, Path)}
    split = "train" if "train" in given else next(iter(given))
    name = _name(given[split])
    given[split] = table = _read(given[split])
    columns = tuple(text_columns) or _guess_columns(table)
    words = holds_words(table, columns)
    if words and len(columns) == 2:
        raise UsageError(f"{table.where} has lists of words, which are not tagged in pairs: give --text-column once.")
    if label_column is None:
        return Task(name, columns, (), (), None, TAGGING if words else SINGLE, files=given, paths=paths)
    column = table.find(label_column, "--label-column", say=False)
    if words:
        names = tag_names(table, column, labels if numbered else (), tags)
        spans = marks_spans(names, f"Column {column!r} of {table.where}")
        _check_several(names, given, table)
        return Task(
            name, columns, names, SPANS if spans else ("accuracy", "macro_f1"), label_column, TAGGING,
            files=given, paths=paths, numbered=True,
            advice=ADVICE if advice == CORRECT else advice,
        )  # fmt: skip
    found = read_labels(table, column)
    is_regression = found.fractions if regression is None else regression
    if is_regression:
        if numbered:
            raise without_effect("--label-names", f"on numbers, which {table.where} has as labels")
        if found.lists:
            raise FactcliError(f"{table.where} has lists in column {label_column!r}, not numbers: write one a row.")
        return Task(name, columns, (), ("pearson", "spearman"), label_column, REGRESSION, files=given, paths=paths)
    names = tuple(labels) or class_names(found, nameable)
    if found.lists:
        metrics: tuple[str, ...] = ("micro_f1", "macro_f1", "subset_accuracy")
    else:
        metrics = ("accuracy", "f1") if len(names) == 2 else ("accuracy", "macro_f1")
    _check_several(names, given, table)
    return Task(
        name, columns, names, metrics, label_column, MULTI if found.lists else SINGLE, files=given, paths=paths,
        multi_hot=found.multi_hot, numbered=numbered, advice=advice,
    )  # fmt: skip


def _check_several(names: Sequence[str], given: Mapping[str, Any], table: Table) -> None:
    if len(names) < 2 and "train" in given:
        raise FactcliError(f"{table.where} has one class only ({names[0]!r}): give rows of at least two.")


def load_split(
    task: Task,
    split: str | None = None,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    revision: str | None = None,
    skip_blank: bool = False,
) -> "Dataset":
    """A split of a task with the columns `text`, `text_pair` (for pairs) and `label`.

    `label` is the index in `task.labels`, a list with 1 or 0 for each of them where rows have any number, or a number
    for a regression; absent for texts alone. Where words are tagged, `text` and `label` are lists, of words
    and of their tags' indices. The split is the task's validation split by default. `limit` takes the first rows;
    `skip_blank` leaves out those without text. Data come from the task's files, else from
    `data_dir`/<task>/<split>.parquet (or its parts <split>-part-N.parquet), else from `revision` of nyu-mll/glue on the
    Hub.

    Raises FactcliError naming the file, column or row that is not as it should be.
    """
    from datasets import Dataset

    split = split or task.validation
    table = _table(task, split, data_dir, revision)
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--limit {limit} is below 1.")
        table = table.head(limit)
    found = [table.find(name, "--text-column") for name in task.columns]
    if len(set(found)) < len(found):
        raise UsageError(f"Column {found[0]!r} of {table.where} is given twice: choose another second --text-column.")
    if task.tagging:
        return Dataset.from_dict(_tagged(task, table, found[0], skip_blank))
    texts = [_texts(table, name) for name in found]
    columns: dict[str, list[Any]] = {}
    if task.label is not None:
        columns[LABEL] = _labels(task, table, found)
    columns |= dict(zip((TEXT, PAIR), texts, strict=False))
    kept = _rows_with_text(table, dict(zip(found, texts, strict=True)), skip_blank, bool(task.files))
    rows = {name: [values[row] for row in kept] for name, values in columns.items()}
    return Dataset.from_dict(
        {c: rows[c] if c == LABEL else [text or "" for text in rows[c]] for c in (TEXT, PAIR, LABEL) if c in rows}
    )


def _tagged(task: Task, table: Table, column: str, skip_blank: bool) -> dict[str, list[Any]]:
    """Words, and their tags where there are any, by column."""
    words = read_words(table, column)
    columns: dict[str, list[Any]] = {TEXT: words}
    if task.label is not None:
        label = table.find(task.label, "--label-column")
        columns[LABEL] = read_tags(table, label, column, words, task.labels, task.advice)
    kept = rows_with_words(table, column, words, skip_blank)
    return {name: [values[row] for row in kept] for name, values in columns.items()}


def split_files(task: Task, split: str, data_dir: str | Path) -> list[Path]:
    """The files of a GLUE split below `data_dir`: one, or its parts in order. Raises FactcliError if there is none."""
    folder = Path(data_dir) / (task.folder or task.name)
    whole = folder / f"{split}.parquet"
    found = [whole] if whole.is_file() else sorted(folder.glob(f"{split}-part-*.parquet"))
    if not found:
        there = sorted({f.stem.partition("-part-")[0] for f in folder.glob("*.parquet")})
        has = f"{folder} has {', '.join(there)}" if there else f"there is nothing in {folder}"
        raise FactcliError(f"{whole} is not there: {has}; choose another --split or --data-dir.")
    return found


def _name(file: Path | Table) -> str:
    return file.where if isinstance(file, Table) else stem(file)


def _read(file: Path | Table) -> Table:
    return file if isinstance(file, Table) else read_table(file)


def _table(task: Task, split: str, data_dir: str | Path | None, revision: str | None) -> Table:
    if task.files:
        return _read(task.files[split])
    if data_dir is not None:
        return _joined([read_table(f) for f in split_files(task, split, data_dir)])
    return read_hub(
        HUB_ID, task.folder or task.name, split, revision,
        f"connect, or give --data-dir DIR that holds {task.folder or task.name}/train.parquet and so on",
    )  # fmt: skip


def _joined(parts: list[Table]) -> Table:
    """The parts of a split, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        if part.names != first.names:
            raise FactcliError(f"{part.where} has other columns than {first.where}: {part.listed}; {first.listed}.")
    columns = tuple([v for part in parts for v in part.values(name)] for name in first.names)
    return replace(first, columns=columns, rows=sum(part.rows for part in parts))


def data_commit(task: Task, data_dir: str | Path | None, revision: str | None = None) -> str | None:
    """The commit of nyu-mll/glue that `load_split` reads; None where it reads files, or the Hub does not say."""
    return None if task.files or data_dir is not None else commit_of(HUB_ID, revision)


def _guess_columns(table: Table) -> tuple[str, ...]:
    names = [name.strip().casefold() for name in table.names]
    for columns in ((TEXT, PAIR), _SENTENCES, (TEXT,), ("sentence",), ("tokens",)):
        if set(columns) <= set(names):
            if len(columns) == 2:
                note(f"{table.where}: columns {' and '.join(columns)} are read as pairs.")
            return columns
    first = "" if table.typed else " (or put a row of column names first)"
    raise FactcliError(
        f"{table.where} has the columns {table.listed}: say which holds the text with --text-column{first}."
    )


def _texts(table: Table, name: str) -> list[str | None]:
    """The texts of a column, None where there are none. Raises FactcliError for what is not text."""
    values = table.values(name)
    for row, value in enumerate(values, 1):
        if not isinstance(value, str | None):
            raise FactcliError(
                f"Row {row} of {table.where} has {kind_of(value)} in column {name!r}, not text: choose another "
                "--text-column, or write texts."
            )
    return values


def _rows_with_text(table: Table, texts: dict[str, list[str | None]], skip: bool, whole: bool) -> list[int]:
    """The rows, from 0, that have text; the others are refused, or left out where `skip` says so. With `whole` a row
    needs a text that is not blank, one of a pair's two at least; without (GLUE's published data) one that is there."""
    together = enumerate(zip(*texts.values(), strict=True))
    blank = [row for row, entries in together if whole and not any((text or "").strip() for text in entries)]
    if blank and not (skip and len(blank) < table.rows):
        raise FactcliError(_without_text(table, next(iter(texts)), blank))
    if blank:
        note(f"{len(blank)} rows of {table.where} have no text and are left out.")
    kept = sorted(set(range(table.rows)) - set(blank))
    for name, values in texts.items():
        absent = [row for row in kept if values[row] is None]
        if absent and not skip:
            raise FactcliError(_without_text(table, name, absent))
        empty = [row for row in kept if whole and not (values[row] or "").strip()]
        if empty:
            note(f"{_rows(table, empty)} an empty text in column {name!r}.")
    return kept


def _rows(table: Table, rows: list[int]) -> str:
    return rows_have([row + 1 for row in rows]).format(table.where)


def _without_text(table: Table, name: str, rows: list[int]) -> str:
    return f"{_rows(table, rows)} no text in column {name!r}: fill it in or leave such rows out."


def _labels(task: Task, table: Table, text_columns: list[str]) -> list[Any]:
    assert task.label is not None
    column = table.find(task.label, "--label-column")
    if column in text_columns:
        raise UsageError(f"Column {column!r} of {table.where} holds texts: choose another one with --label-column.")
    found = read_labels(table, column)
    if task.regression:
        return numbers(found)
    if found.lists != task.multi_label:
        have = "lists of labels" if found.lists else "one label a row"
        raise FactcliError(
            f"{table.where} has {have} in column {task.label!r}, unlike what is trained or measured: take data of the "
            "same kind."
        )
    if task.multi_label:
        return vectors(found, task.labels, task.advice, task.multi_hot, task.numbered)
    if not task.files:  # GLUE's, by id; its test splits have -1
        check_labelled(found)
        if "-1" in found.names:
            raise FactcliError(f"{table.where} has no labels (GLUE keeps them): take the validation split.")
        return ids(found, task.labels, CORRECT, numbered=True)
    return ids(found, task.labels, task.advice, task.numbered)
