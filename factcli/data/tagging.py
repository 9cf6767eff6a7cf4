"""Words and a tag for each: the two columns of lists from which a tagger is trained."""

import re
from collections.abc import Sequence

from ..errors import FactcliError
from .label_columns import check_labelled, class_names, read_labels, tags
from .tables import Table, kind_of, listed, rows_have

ADVICE = "correct it, leave such rows out, or name every tag with --label-names"


def holds_words(table: Table, columns: Sequence[str]) -> bool:
    """Whether any of the text columns begins with a list."""
    values = (table.values(table.find(name, "--text-column", say=False)) for name in columns)
    return any(isinstance(next((v for v in column if v is not None), None), list) for column in values)


def tag_names(table: Table, column: str, given: Sequence[str], of_ids: Sequence[str]) -> tuple[str, ...]:
    """The tags of a column, by id: those `given`; else as the table names them, for ids without names `of_ids`.

    Raises FactcliError for a column without lists, without a tag somewhere, and for ids that nobody names.
    """
    found = read_labels(table, column)
    if not found.lists:
        raise FactcliError(
            f"{table.where} has no lists in column {column!r}, but every word needs a tag: choose another "
            "--label-column."
        )
    check_labelled(found)
    names = list(dict.fromkeys(name for row in found.names for name in row))
    if given:
        return tuple(given)
    if found.classes or not all(re.fullmatch("-?[0-9]+", name) for name in names):
        return class_names(found)
    if not of_ids:
        raise FactcliError(
            f"{table.where} has ids in column {column!r} ({listed(names, 5)}) and no names for them: give "
            "--label-names with the tags in the order of their ids (O,B-PER,I-PER)."
        )
    return tuple(of_ids)


def read_words(table: Table, column: str) -> list[list[str]]:
    """The words of each row. Raises FactcliError, naming the row, for what is no list of texts."""
    rows: list[list[str]] = table.values(column)
    for row, words in enumerate(rows, 1):
        if not isinstance(words, list):
            raise FactcliError(
                f"Row {row} of {table.where} has {kind_of(words)} in column {column!r}, not a list of words: write one "
                "in every row."
            )
        strange = next((word for word in words if not isinstance(word, str)), "")
        if strange != "":
            raise FactcliError(
                f"Row {row} of {table.where} has {kind_of(strange)} among the words of column {column!r}: write every "
                "word as text."
            )
    return rows


def read_tags(
    table: Table, column: str, words_column: str, words: Sequence[Sequence[str]], known: Sequence[str], advice: str
) -> list[list[int]]:
    """The tag of each of the `words`: its place among the `known` ones.

    Raises FactcliError, naming the row, for another number of tags than of words and for tags that are not known.
    """
    found = read_labels(table, column)
    for row, (many, given) in enumerate(zip(words, found.names, strict=True), 1):
        if isinstance(given, list) and len(given) != len(many):
            raise FactcliError(
                f"Row {row} of {table.where} has {_count(len(many), 'word')} in column {words_column!r} and "
                f"{_count(len(given), 'tag')} in column {column!r}: write one tag for each word."
            )
    if not found.lists:
        raise FactcliError(
            f"{table.where} has no lists in column {column!r}, but every word needs a tag: write a list of tags "
            "in every row."
        )
    return tags(found, known, advice)


def rows_with_words(table: Table, column: str, words: Sequence[Sequence[str]], skip: bool) -> list[int]:
    """The rows, from 0, that have words. Raises FactcliError for others, unless they are left out (`skip`)."""
    empty = [row for row, many in enumerate(words, 1) if not many]
    if empty and not (skip and len(empty) < len(words)):
        raise FactcliError(
            f"{rows_have(empty).format(table.where)} no words in column {column!r}: fill it in or leave such rows out."
        )
    return [row for row, many in enumerate(words) if many]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
