"""Columns of labels: a name, a number or a list of names a row."""

import datetime
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import FactcliError
from ..notes import note
from .names import Names, alike, number, sort_names, whole
from .tables import Table, listed, rows_have

UNLABELED = ("-1", "-100")  # as in GLUE's test files, and as losses skip them


@dataclass(frozen=True)
class LabelColumn:
    """A column of labels. `values` are as they were read; `names` the same as names of classes (a list of names where a
    row has a list), None where there is no label. `classes` are those that the file itself names, by id."""

    where: str
    column: str
    values: list[Any]
    names: list[Any]
    typed: bool
    classes: tuple[str, ...] = ()

    @property
    def lists(self) -> bool:
        """True where rows have any number of labels."""
        return any(isinstance(v, list) for v in self.values)

    @property
    def fractions(self) -> bool:
        """True for numbers, at least one of them with a fraction."""
        found = [v for v in self.values if v is not None]
        if self.typed:
            numbers = [v for v in found if isinstance(v, int | float | Decimal) and not isinstance(v, bool)]
            return len(numbers) == len(found) and any(_has_fraction(v) for v in numbers)
        parsed = [number(v) for v in set(found) if v.strip()]
        return None not in parsed and any(v is not None and _has_fraction(v) for v in parsed)

    @property
    def multi_hot(self) -> bool:
        """True for lists with a 0 or 1 for each class, rather than lists of the classes that there are."""
        rows = [v for v in self.values if v is not None]
        if self.classes or not self.lists or len({len(v) for v in rows}) != 1 or len(rows[0]) < 2:
            return False
        flags = all(isinstance(x, int | float) and x in (0, 1) for v in rows for x in v)
        return flags and not all(v == [0, 1] for v in rows)  # both ids, in every row


def _has_fraction(value: int | float | Decimal) -> bool:
    return not isinstance(value, int) and math.isfinite(value) and value % 1 != 0


def read_labels(table: Table, column: str) -> LabelColumn:
    """The column of labels that is called `column`. Raises FactcliError for what cannot be labels, naming the row."""
    values = table.values(column)
    labels = LabelColumn(table.where, column, values, [], table.typed, table.classes.get(column, ()))
    texts = {v: v.strip() or None for v in {v for v in values if isinstance(v, str)}}
    if not table.typed and all(n is None or re.fullmatch(r"-?[0-9]+(\.0+)?", n) for n in texts.values()):
        texts = {v: n and whole(n) for v, n in texts.items()}
    lists = labels.lists
    for row, value in enumerate(values, 1):
        if isinstance(value, str) and not lists:
            labels.names.append(texts[value])
        elif isinstance(value, list):
            labels.names.append([_name(v, labels, row) for v in value])
        elif lists and value is not None:
            raise FactcliError(
                f"Row {row} of {table.where} has {_shown(value)} in column {column!r} where others have a list: write "
                "a list in every row, [] for no label."
            )
        else:
            labels.names.append(_name(value, labels, row))
    return labels


def _name(value: Any, labels: LabelColumn, row: int) -> str | None:
    """A class as it is called: 1 and 1.0 are "1", true is "true"; None for no label."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value.strip() or None
    if value is None or value != value:
        return None
    if isinstance(value, int | float | Decimal):
        if value % 1 != 0:
            return str(value)
        index = int(value)
        return labels.classes[index] if 0 <= index < len(labels.classes) else str(index)
    kind = "a date" if isinstance(value, datetime.date | datetime.time | datetime.timedelta) else "an object"
    raise FactcliError(
        f"Row {row} of {labels.where} has {kind} in column {labels.column!r}, not a label: choose another "
        "--label-column, or write names or ids."
    )


def numbers(labels: LabelColumn) -> list[float]:
    """The labels of a regression. Raises FactcliError naming the row that has no number."""
    found = []
    for row, value in enumerate(labels.values, 1):
        parsed = number(value) if isinstance(value, str) else value
        if isinstance(parsed, bool) or not isinstance(parsed, int | float | Decimal) or not -1e300 < parsed < 1e300:
            raise FactcliError(
                f"Row {row} of {labels.where} has {_shown(value)} in column {labels.column!r}, not a number."
            )
        found.append(float(parsed))
    return found


def class_names(labels: LabelColumn, nameable: bool = True) -> tuple[str, ...]:
    """The classes of a column, by id: as the file names them, else in order. `nameable`: there is --label-names.

    Raises FactcliError for rows without a label, -1 for want of one, and names that differ by case alone.
    """
    check_labelled(labels)
    if labels.classes:
        return labels.classes
    if labels.multi_hot:
        return tuple(str(i) for i in range(len(labels.values[0])))
    rows: dict[str, list[int]] = defaultdict(list)
    for row, entry in enumerate(labels.names, 1):
        for name in entry if isinstance(entry, list) else [entry]:
            rows[name].append(row)
    if not labels.typed:
        _check_texts(labels, rows)
    for name in UNLABELED:
        if name in rows and not rows.keys() <= {"-1", "1"}:
            known = listed(sort_names(list(rows)), 5).replace(", ", ",")
            unless = f" (or, if it is a class, give --label-names={known})" if nameable else ""
            raise FactcliError(f"{_where(labels, rows[name])} the label {name}, no label: leave such rows out{unless}.")
    if rows.keys() == {"-1"}:
        raise FactcliError(f"{_where(labels, rows['-1'])} the label -1, no label: give rows with labels.")
    _check_spelling(labels, rows, nameable)
    if not rows:
        raise FactcliError(f"No row of {labels.where} has a label in column {labels.column!r}: give some that have.")
    return sort_names(list(rows))


def check_labelled(labels: LabelColumn) -> None:
    """Raises FactcliError for rows without a label, naming them."""
    blank = [row for row, n in enumerate(labels.names, 1) if n is None or (isinstance(n, list) and None in n)]
    if blank:
        raise FactcliError(
            f"{_where(labels, blank)} no label in column {labels.column!r}: fill it in or leave such rows out."
        )


def ids(labels: LabelColumn, known: Sequence[str], advice: str, numbered: bool = False) -> list[int]:
    """The class of each row: its place among the `known` names. `numbered`: ids stand for themselves where they are no
    names. Raises FactcliError for rows with none or an unknown one, with `advice` what to do."""
    check_labelled(labels)
    place = _places(labels, known, numbered)
    unknown = [row for row, name in enumerate(labels.names, 1) if place[name] is None]
    if unknown:
        _refuse(labels, labels.names[unknown[0] - 1], unknown, known, advice)
    return [index for name in labels.names if (index := place[name]) is not None]


def vectors(
    labels: LabelColumn, known: Sequence[str], advice: str, multi_hot: bool, numbered: bool = False
) -> list[list[float]]:
    """For lists of labels: 1 or 0 for each of the `known` names, in every row; otherwise as `ids`."""
    check_labelled(labels)
    if multi_hot:
        for row, value in enumerate(labels.values, 1):
            if len(value) != len(known) or any(v not in (0, 1) for v in value):
                raise FactcliError(
                    f"Row {row} of {labels.where} has {_shown(value)} in column {labels.column!r}, not a 0 or 1 for "
                    f"each of {len(known)} labels ({listed(known)})."
                )
        return [[float(v) for v in value] for value in labels.values]
    rows = tags(labels, known, advice, numbered)
    return [[float(i in there) for i in range(len(known))] for there in map(set, rows)]


def tags(labels: LabelColumn, known: Sequence[str], advice: str, numbered: bool = True) -> list[list[int]]:
    """For lists of labels: the place of each among the `known` names; otherwise as `ids`."""
    check_labelled(labels)
    place = _places(labels, known, numbered)
    found = []
    for row, names in enumerate(labels.names, 1):
        unknown = [name for name in names if place[name] is None]
        if unknown:
            _refuse(labels, unknown[0], [row], known, advice)
        found.append([index for name in names if (index := place[name]) is not None])
    return found


def _places(labels: LabelColumn, known: Sequence[str], numbered: bool) -> dict[str, int | None]:
    names, place = Names(known), {}
    flat = {n for entry in labels.names for n in (entry if isinstance(entry, list) else [entry])}
    for name in flat:
        place[name] = names.index(name)
        if place[name] is None and numbered and re.fullmatch(r"[0-9]{1,6}", whole(name)):
            place[name] = int(whole(name)) if int(whole(name)) < len(known) else None
    return place


def _refuse(labels: LabelColumn, name: str, rows: list[int], known: Sequence[str], advice: str) -> None:
    same = [row for row in rows if labels.names[row - 1] == name] or rows
    if name in UNLABELED:
        raise FactcliError(f"{_where(labels, same)} the label {name}, no label: leave such rows out.")
    raise FactcliError(
        f"{_where(labels, same)} the label {_shown(name)}; the known labels are {listed(known)}: {advice}."
    )


def _check_texts(labels: LabelColumn, rows: dict[str, list[int]]) -> None:
    """What the cells of a csv hold in place of a label."""
    if all(name.startswith("[") and name.endswith("]") for name in rows):
        raise FactcliError(
            f"{labels.where} has lists in column {labels.column!r} ({_shown(next(iter(rows)))}), which a csv keeps as "
            "texts: write them to a jsonl or parquet file."
        )
    if any("," in name for name in rows) and all(re.fullmatch("-?[0-9]+(,[0-9]+)?", name) for name in rows):
        raise FactcliError(
            f"{labels.where} has numbers with a decimal comma in column {labels.column!r} "
            f"({next(name for name in rows if ',' in name)}): write them with a point."
        )


def _check_spelling(labels: LabelColumn, rows: dict[str, list[int]], nameable: bool) -> None:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in rows:
        spellings[alike(name)].append(name)
    for names in spellings.values():
        if len(names) > 1:
            a, b = sorted(names, key=lambda name: rows[name][0])[:2]
            unless = " (or, if they are two classes, name all with --label-names)" if nameable else ""
            raise FactcliError(
                f"{_where(labels, rows[b])} the label {_shown(b)}, row {rows[a][0]} has {_shown(a)}: write them "
                f"alike{unless}."
            )
    texts = [v if isinstance(v, str) else "" for v in labels.values]
    bare = {text for text in texts if text == text.strip()}
    spaced = [row for row, text in enumerate(texts, 1) if text != text.strip() and text.strip() in bare]
    if spaced:
        name = labels.values[spaced[0] - 1]
        note(f"{_where(labels, spaced)} spaces around the label ({name!r}), which is read as {name.strip()!r}.")


def _where(labels: LabelColumn, rows: Sequence[int]) -> str:
    return rows_have(rows).format(labels.where)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
