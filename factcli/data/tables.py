"""Tables in files: csv, tsv, JSON, parquet and arrow, compressed or not, read as they are written."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import FactcliError
from ..notes import note
from .columnar import ArrowColumn, read_arrow, read_parquet
from .delimited import read_delimited
from .records import read_records
from .text import COMPRESSIONS, decode, line_after, read_bytes, reading

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather", ".txt")
KINDS = f"{', '.join(SUFFIXES)}, or one of these with {', '.join(COMPRESSIONS)} behind it"


@dataclass(frozen=True)
class Table:
    """Rows as they were read. `where` is what sentences call it; `columns` go with `names`, which may repeat.

    Columns hold Python's values, or texts alone where the file has no types (`typed` False). `classes` are the names of
    the classes, by id, of columns of ids that say so (the class `ClassLabel` of `datasets`).
    """

    where: str
    names: tuple[str, ...]
    columns: tuple[Sequence[Any], ...] = field(repr=False)
    rows: int
    typed: bool = True
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find(self, name: str, option: str, say: bool = True) -> str:
        """The one column that `name` means; case and surrounding spaces matter only where several differ by them, and
        where they do not match it is said (`say`).

        Raises FactcliError where there is none, or more than one.
        """
        same = [n for n in self.names if n == name]
        alike = same or [n for n in self.names if n.strip().casefold() == name.strip().casefold()]
        if len(alike) == 1:
            if say and not same:
                note(f"{self.where}: column {alike[0]!r} is read as {name!r}.")
            return alike[0]
        if alike:
            called = f"called {name!r}" if same else f"({' and '.join(map(repr, alike))})"
            raise FactcliError(f"{self.where} has {len(alike)} columns {called}: rename one.")
        first = "" if self.typed else ", or put a row of column names first"
        raise FactcliError(
            f"{self.where} has no column {name!r}: it has {self.listed}; choose one with {option}{first}."
        )

    @property
    def listed(self) -> str:
        """The names of its columns, as a sentence can hold them."""
        return listed(self.names)

    def values(self, name: str) -> list[Any]:
        """The values of the column `name`, which `find` has given."""
        column = self.columns[self.names.index(name)]
        return column.values(f"Column {name!r} of {self.where}") if isinstance(column, ArrowColumn) else list(column)

    def head(self, count: int) -> "Table":
        """Its first rows."""
        return replace(self, columns=tuple(c[:count] for c in self.columns), rows=min(count, self.rows))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names in a sentence: the first ones, and how many more there are."""
    flat = [" ".join(name.split()) for name in names[:most]]
    cut = [n if len(n) <= 40 else f"{n[:37]}..." for n in flat]
    return ", ".join(cut) + (f" and {len(names) - most} more" if len(names) > most else "")


def rows_have(rows: Sequence[int]) -> str:
    """ "Row 6 of {} has", "Rows 6, 8 and 9 of {} have": the beginning of a sentence; `rows` count from 1."""
    if len(rows) == 1:
        return f"Row {rows[0]} of {{}} has"
    shown = [str(row) for row in rows[:5]]
    rest = f"{len(rows) - 5} more" if len(rows) > 5 else shown.pop()
    return f"Rows {', '.join(shown)} and {rest} of {{}} have"


def kind_of(value: Any) -> str:
    """What a value of a table is, in a sentence."""
    kinds = {"str": "a text", "int": "a number", "float": "a number", "list": "a list", "dict": "an object"}
    return "nothing" if value is None else kinds.get(type(value).__name__, type(value).__name__)


def stem(path: Path) -> str:
    """The name of a table's file without what says how it is written: reviews of reviews.csv.gz."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.stem


def is_table(path: Path) -> bool:
    """True for the name of a file that `read_table` reads."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower() in SUFFIXES


def read_table(path: Path) -> Table:
    """The rows of one file; a .txt is one column `text`, a line each. Texts such as "NA", "null" or "0012" stay texts.

    Raises FactcliError for a file that is absent, unreadable, empty, damaged, in another encoding or of another kind;
    where a row is to blame it is named by its number, counted from 1 without the row of column names.
    """
    with reading(path):
        _check_file(path)
    table = _read(path)
    if table.rows == 0:
        raise FactcliError(f"{path} has no rows: give a file with at least one.")
    return table


def _check_file(path: Path) -> None:
    """Raises FactcliError for what is no file with something in it, of a kind that is read."""
    if path.is_dir():
        inside = sorted(
            (f.name for f in path.iterdir() if is_table(f)), key=lambda name: (name.endswith(".json"), name)
        )
        has = f"give a file in it ({listed(inside, 5)})" if inside else "give a file"
        raise FactcliError(f"{path} is a directory: {has}.")
    if not is_table(path):
        excel = " Save the sheet as csv (UTF-8)." if path.suffix.lower() in (".xls", ".xlsx", ".ods") else ""
        raise FactcliError(f"{path} is not a kind of file that is read: give {KINDS}.{excel}")
    if not path.is_file():
        raise FactcliError(f"{path} is not there: check the path.")
    if path.stat().st_size == 0:
        raise FactcliError(f"{path} is empty: give a file with rows.")


def _read(path: Path) -> Table:
    where, compressed = str(path), path.suffix.lower() in COMPRESSIONS
    kind = (path.with_suffix("") if compressed else path).suffix.lower()
    if kind in (".parquet", ".arrow", ".feather"):
        with reading(path):
            file = pa.BufferReader(read_bytes(path)) if compressed else pa.OSFile(where)
        names, columns, rows, classes = (read_parquet if kind == ".parquet" else read_arrow)(file, where)
        return Table(where, names, columns, rows, classes=classes)
    data = read_bytes(path)
    if kind in (".csv", ".tsv"):
        header, fields = read_delimited(data, where, "\t" if kind == ".tsv" else ",")
        return Table(where, header, fields, len(fields[0]) if fields else 0, typed=False)
    if kind != ".txt":
        keys, values, count = read_records(data, where)
        return Table(where, keys, values, count)
    lines = io.StringIO(decode(data, where, line_after), newline=None)
    texts = [line.strip() for line in lines if line.strip()]
    return Table(where, ("text",), (texts,), len(texts))
