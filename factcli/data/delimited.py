"""Tables with a delimiter between their columns: csv, tsv and their kin. Every field is a text."""

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from ..errors import FactcliError
from ..notes import note
from .text import decode

DELIMITERS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}
_SAMPLE = 50  # rows that tell a delimiter
_LONGEST = 2**31 - 1  # characters of a field

Rows = list[list[str]]


class _Broken(Exception):
    """Quotes that do not fit, in the row of this number."""


def read_delimited(data: bytes, where: str, usual: str) -> tuple[tuple[str, ...], tuple[list[str], ...]]:
    """Names of the columns and their texts. The delimiter is the `usual` one unless the first rows fit another only.

    Fields may stand in quotes and then hold delimiters and line ends. With tabs, quotes are ordinary characters (as in
    GLUE's files), unless they are those that a writer of quoted fields has put there. Blank lines are skipped.

    Raises FactcliError for a row with another number of fields than there are columns, and for quotes that do not fit.
    """
    text = decode(data, where, lambda before: _row_after(before, usual))
    with _long_fields():
        delimiter = _delimiter(text, usual)
        if delimiter != usual:
            note(f"{where} is read with {DELIMITERS[delimiter]} between its columns.")
        try:
            header, *rows = _tabbed(text) if delimiter == "\t" else _filled(_records(text, delimiter, True)) or [[]]
        except _Broken as error:
            raise FactcliError(
                f"{where} has quotes in {error} that do not fit: close every quoted field, and write quotes inside one "
                'twice ("").'
            ) from error
    names = tuple(name.strip() for name in header)
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            what = f"{len(row)} field{'s' * (len(row) != 1)} ({_shown(row)}), the row of column names has {len(names)}"
            do = f"put texts that hold {DELIMITERS[delimiter]} in quotes" if len(row) > len(names) else "fill it up"
            raise FactcliError(f"Row {number} of {where} has {what}: {do}.")
    spread = [number for number, row in enumerate(rows, 1) if any("\n" in field or "\r" in field for field in row)]
    if spread and delimiter != "\t" and _is_raw(text, delimiter, len(names)):
        note(
            f"Row {spread[0]} of {where} goes over several lines, between quotes; should these quotes be part of the "
            "texts, write them twice, or the file as tsv."
        )
    last = len(rows)
    while last and not any(field.strip() for field in rows[last - 1]) and len(names) > 1:
        last -= 1
    if last < len(rows):
        note(f"{where} ends with {len(rows) - last} rows of empty fields, which are left out.")
    return names, tuple([row[i] for row in rows[:last]] for i in range(len(names)))


def _records(text: str, delimiter: str, quoted: bool) -> Iterator[list[str]]:
    """Raises _Broken, naming the row."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
    )  # fmt: skip
    number = 0
    try:
        for row in reader:
            yield row
            number += bool(row)
    except csv.Error as error:
        raise _Broken(_named(number)) from error


def _named(number: int) -> str:
    return f"row {number}" if number else "the row of column names"


def _filled(rows: Iterable[list[str]]) -> Rows:
    """Without blank lines; where there are several columns a line of spaces is one too."""
    found: Rows = []
    for row in rows:
        alone = len(row) == 1 and bool(found) and len(found[0]) > 1
        if row and not (alone and not row[0].strip()):
            found.append(row)
    return found


def _delimiter(text: str, usual: str) -> str:
    """The usual one, if it splits the first rows into as many fields each, and more than one; else the one that does,
    into the most; where none does, the usual one."""
    best, most = usual, 1
    for delimiter in (usual, *(d for d in DELIMITERS if d != usual)):
        rows = _sample(text, delimiter, delimiter != "\t")
        if delimiter == "\t" and len({len(row) for row in rows}) != 1:
            rows = _sample(text, delimiter, True)
        if rows and len({len(row) for row in rows}) == 1 and len(rows[0]) > most:
            if delimiter == usual:
                return usual
            best, most = delimiter, len(rows[0])
    return best


def _sample(text: str, delimiter: str, quoted: bool) -> Rows:
    try:
        return _filled(islice(_records(text, delimiter, quoted), _SAMPLE))
    except _Broken:
        return []


def _is_raw(text: str, delimiter: str, columns: int) -> bool:
    """True where the lines are rows too, with quotes as ordinary characters."""
    with _long_fields():
        return {len(row) for row in _filled(_records(text, delimiter, False))} == {columns}


def _tabbed(text: str) -> Rows:
    """Rows with tabs: raw, or with quoted fields where they show that a writer quoted them."""
    raw = _filled(_records(text, "\t", False)) or [[]]
    if '"' not in text:
        return raw
    try:
        quoted = _filled(_records(text, "\t", True))
    except _Broken:
        return raw
    if all(len(field) > 1 and field[0] == field[-1] == '"' for field in raw[0]):
        return quoted
    if any(len(row) != len(raw[0]) for row in raw):
        return quoted if all(len(row) == len(quoted[0]) for row in quoted) else raw
    doubled = len(raw) == len(quoted) and any(
        '"' in new and old == '"{}"'.format(new.replace('"', '""'))
        for before, after in zip(raw, quoted, strict=True)
        for old, new in zip(before, after, strict=False)
    )
    return quoted if doubled else raw


def _row_after(before: str, usual: str) -> str:
    """The row in which the text after `before` stands."""
    with _long_fields():
        text = before + "x"
        delimiter = _delimiter(text, usual)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter,
            quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        )  # fmt: skip
        return _named(sum(1 for row in reader if row) - 1)


def _shown(row: list[str]) -> str:
    flat = [" ".join(field.split()) for field in row[:4]]
    return " | ".join(field if len(field) <= 30 else f"{field[:27]}..." for field in flat)


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module's limit on fields is global: it is lifted for as long as a file is read."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
