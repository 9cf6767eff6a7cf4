"""Tasks: GLUE by name and the user's own files. Where the data is, its columns, metrics and label names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import FactcliError, UsageError
from .registry import Registry

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

HUB_ID = "nyu-mll/glue"
TEXT, PAIR, LABEL = "text", "text_pair", "label"


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    `columns` are the one or two text columns as the data names them, `label` the label column (None: text only).
    `labels` are the names of the classes, by id; empty for a regression and for text only. `metrics` are computed by
    factcli.metrics, the first one is the main one. `files` are the user's own, by split; without them the data are
    GLUE's `folder`.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    label: str | None = "label"
    regression: bool = False
    validation: str = "validation"
    folder: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def pair(self) -> bool:
        return len(self.columns) == 2


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
    Task("stsb", _SENTENCES, (), ("pearson", "spearman"), regression=True),
    Task("mnli", ("premise", "hypothesis"), _NLI, validation="validation_matched"),
    Task("mnli-mm", ("premise", "hypothesis"), _NLI, validation="validation_mismatched", folder="mnli"),
    Task("qnli", ("question", "sentence"), _ENTAILMENT),
    Task("rte", _SENTENCES, _ENTAILMENT),
    Task("wnli", _SENTENCES, ("not_entailment", "entailment")),
):
    GLUE.register(_task)


def user_task(
    files: Mapping[str, str | Path],
    text_columns: Sequence[str] = (),
    label_column: str | None = "label",
    labels: Sequence[str] = (),
    regression: bool | None = None,
) -> Task:
    """A task over the user's own files (csv, tsv, jsonl, parquet, txt), by split: {"train": …, "validation": …}.

    Without `text_columns` the columns "text" (and "text_pair"), "sentence" or "sentence1" and "sentence2" are looked
    for. `label_column` None reads texts alone. Without `labels` the classes are those of the training file (of the
    only file, if there is none), in order; numbers with a fraction make a regression, unless `regression` says.

    Raises FactcliError for what the files lack, UsageError for more than two text columns.
    """
    from .datafiles import read_table

    if len(text_columns) > 2:
        raise UsageError("Give --text-column once, or twice for sentence pairs.")
    paths = {split: Path(file) for split, file in files.items()}
    split = "train" if "train" in paths else next(iter(paths))
    table = read_table(paths[split])
    columns = tuple(text_columns) or _guess_columns(table.column_names, paths[split])
    name = paths[split].stem
    if label_column is None:
        return Task(name, columns, (), (), None, files=paths)
    values = _column(table, label_column, paths[split], "--label-column")
    is_regression = _fractions(values) if regression is None else regression
    if is_regression:
        return Task(name, columns, (), ("pearson", "spearman"), label_column, True, files=paths)
    names = tuple(labels) or _class_names(values)
    if len(names) < 2 and "train" in paths:
        raise FactcliError(f"{paths[split]} has one class only ({names[0]!r}): give rows of at least two.")
    metrics = ("accuracy", "f1") if len(names) == 2 else ("accuracy", "macro_f1")
    return Task(name, columns, names, metrics, label_column, files=paths)


def load_split(
    task: Task,
    split: str | None = None,
    data_dir: str | Path | None = None,
    limit: int | None = None,
    revision: str | None = None,
) -> "Dataset":
    """A split of a task with the columns `text`, `text_pair` (for pairs) and `label`.

    `label` is the index in `task.labels`, or a number for a regression; absent for texts alone. The split is the
    task's validation split by default. `limit` takes the first rows. Data come from the task's files, else from
    `data_dir`/<task>/<split>.parquet (or its parts <split>-part-N.parquet), else from `revision` of nyu-mll/glue on the
    Hub.

    Raises FactcliError naming the file, column or row that is not as it should be.
    """
    from datasets import Dataset

    split = split or task.validation
    table, where = _table(task, split, data_dir, revision)
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--limit {limit} is below 1.")
        table = table.slice(0, limit)
    columns: dict[str, Any] = {}
    for canonical, name in zip((TEXT, PAIR), task.columns, strict=False):
        columns[canonical] = _texts(_column(table, name, where, "--text-column"), name, where)
    if task.label is not None:
        values = _column(table, task.label, where, "--label-column")
        columns[LABEL] = _numbers(values, task, where) if task.regression else _ids(values, task, where)
    return Dataset.from_dict(columns)


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


def _table(task: Task, split: str, data_dir: str | Path | None, revision: str | None) -> "tuple[pa.Table, str | Path]":
    import pyarrow as pa

    from .datafiles import read_table

    if task.files:
        if split not in task.files:
            raise FactcliError(f"No {split} file is given: give --{split} FILE.")
        return read_table(task.files[split]), task.files[split]
    if data_dir is not None:
        files = split_files(task, split, data_dir)
        tables = [read_table(f) for f in files]
        return (tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")), files[0]
    return _from_hub(task, split, revision), f"{HUB_ID} {task.folder or task.name}/{split}"


def _from_hub(task: Task, split: str, revision: str | None) -> "pa.Table":
    from .hub.data import load_data

    try:
        return load_data(HUB_ID, task.folder or task.name, split, revision).data.table
    except ValueError as error:
        if "Unknown split" in str(error):
            raise FactcliError(f"{HUB_ID} has no split {split!r} for {task.name}: choose another --split.") from error
        raise FactcliError(_unreachable(task)) from error
    except (OSError, RuntimeError) as error:  # every way in which the network or the cache fails
        raise FactcliError(_unreachable(task)) from error


def data_commit(task: Task, data_dir: str | Path | None, revision: str | None = None) -> str | None:
    """The commit of nyu-mll/glue that `load_split` reads; None where it reads files, or the Hub does not say."""
    from .hub.data import commit_of

    return None if task.files or data_dir is not None else commit_of(HUB_ID, revision)


def _unreachable(task: Task) -> str:
    return (
        f"{HUB_ID} is neither in the local cache nor to be reached: connect, or give --data-dir DIR that holds "
        f"{task.folder or task.name}/train.parquet and so on."
    )


def _guess_columns(names: list[str], where: Path) -> tuple[str, ...]:
    for columns in ((TEXT, PAIR), _SENTENCES, (TEXT,), ("sentence",)):
        if set(columns) <= set(names):
            return columns
    raise FactcliError(f"{where} has the columns {', '.join(names)}: say which holds the text with --text-column.")


def _column(table: "pa.Table", name: str, where: str | Path, option: str) -> "pa.ChunkedArray":
    if table.column_names.count(name) != 1:
        has = ", ".join(table.column_names)
        raise FactcliError(f"{where} has no column {name!r}: it has {has}; choose one with {option}.")
    return table.column(name)


def _texts(values: "pa.ChunkedArray", name: str, where: str | Path) -> list[str]:
    import pyarrow as pa

    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        raise FactcliError(f"Column {name!r} of {where} holds {values.type}, not text: choose another --text-column.")
    if values.null_count:
        row = values.is_null().to_pylist().index(True) + 1
        raise FactcliError(f"Row {row} of {where} has no text in column {name!r}: fill it in or leave the row out.")
    texts: list[str] = values.to_pylist()
    return texts


def _fractions(values: "pa.ChunkedArray") -> bool:
    import pyarrow as pa

    return pa.types.is_floating(values.type) and any(v is not None and v != int(v) for v in values.to_pylist())


def _name(value: Any) -> str:
    """A class as it is called: 1, 1.0 and "1" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _class_names(values: "pa.ChunkedArray") -> tuple[str, ...]:
    names = {_name(v) for v in values.to_pylist() if v is not None}
    return tuple(sorted(names, key=int) if all(n.lstrip("-").isdigit() for n in names) else sorted(names))


def _ids(values: "pa.ChunkedArray", task: Task, where: str | Path) -> list[int]:
    names = [None if v is None else _name(v) for v in values.to_pylist()]
    if not task.files:  # GLUE stores ids; its test splits have -1
        known = {str(i): i for i in range(len(task.labels))}
    else:
        known = {n: i for i, n in enumerate(task.labels)}
    for row, name in enumerate(names, 1):
        if name not in known:
            if not task.files and name == "-1":
                raise FactcliError(f"{where} has no labels (GLUE keeps them): take the validation split.")
            said = "no label" if name is None else f"the label {name!r}"
            raise FactcliError(f"Row {row} of {where} has {said}; the known labels are {', '.join(task.labels)}.")
    return [known[name] for name in names if name is not None]


def _numbers(values: "pa.ChunkedArray", task: Task, where: str | Path) -> list[float]:
    numbers = []
    for row, value in enumerate(values.to_pylist(), 1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not abs(number) < float("inf"):
            raise FactcliError(f"Row {row} of {where} has {value!r} in column {task.label!r}, not a number.")
        numbers.append(number)
    return numbers
