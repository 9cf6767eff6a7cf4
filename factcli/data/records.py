"""Tables in JSON: a list of objects, or an object a line."""

import json
from typing import Any

from ..errors import FactcliError
from .text import decode, line_after

Records = list[dict[str, Any]]
_EXAMPLE = '[{"text": ..., "label": ...}, ...] or one such object a line'


def read_records(data: bytes, where: str) -> tuple[tuple[str, ...], tuple[list[Any], ...], int]:
    """Keys, in order of appearance, the value of each in every row (None where a row lacks it), and the rows' number.

    Raises FactcliError for what is neither a list of objects nor an object a line, naming the row.
    """
    text = decode(data, where, line_after).replace("\r", "\n").strip()  # in JSON neither stands inside a text
    records = _list(text, where) if text.startswith("[") else _lines(text, where)
    keys: dict[str, None] = {}
    escapes = "\\u" in text
    for number, record in enumerate(records, 1):
        if escapes and not _encodes(record):
            raise FactcliError(f"Row {number} of {where} has half of a surrogate pair (\\ud800 to \\udfff): repair it.")
        keys.update(dict.fromkeys(record))
    return tuple(keys), tuple([record.get(key) for record in records] for key in keys), len(records)


def _encodes(record: dict[str, Any]) -> bool:
    try:
        return bool(json.dumps(record, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


class _TwiceError(ValueError):
    """A key that an object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"has the key {twice!r} twice: rename one")
    return found


def _parse(text: str) -> Any:
    """Raises ValueError with a reason for what is not JSON."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _list(text: str, where: str) -> Records:
    try:
        values = _parse(text)
    except _TwiceError as error:
        raise FactcliError(f"An object of {where} {error}.") from error
    except ValueError as error:
        raise FactcliError(f"{where} cannot be read as JSON ({_reason(error)}): write {_EXAMPLE}.") from error
    for number, value in enumerate(values, 1):
        if not isinstance(value, dict):
            raise FactcliError(f"Row {number} of {where} is not an object ({_shown(value)}): write {_EXAMPLE}.")
    records: Records = values
    return records


def _lines(text: str, where: str) -> Records:
    records: Records = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        number = len(records) + 1
        try:
            value = _parse(line)
        except _TwiceError as error:
            raise FactcliError(f"Row {number} of {where} {error}.") from error
        except ValueError as error:
            whole = _whole(text) if number == 1 else None
            if whole is not None:
                return _one(whole, where)
            if line.rstrip().endswith(","):
                raise FactcliError(
                    f"Row {number} of {where} ends with a comma, which JSON lines have not: take it out, or put [ and "
                    "] around the rows."
                ) from error
            raise FactcliError(
                f"Row {number} of {where} cannot be read as JSON ({_reason(error)}): write {_EXAMPLE}."
            ) from error
        if not isinstance(value, dict):
            raise FactcliError(f"Row {number} of {where} is not an object ({_shown(value)}): write {_EXAMPLE}.")
        records.append(value)
    return _one(records[0], where) if len(records) == 1 else records


def _whole(text: str) -> dict[str, Any] | None:
    """The one object that a file is, over several lines."""
    try:
        value = _parse(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _one(record: dict[str, Any], where: str) -> Records:
    """A file of one object is one row, unless the rows are inside it."""
    inside = [k for k, v in record.items() if isinstance(v, list) and v and all(isinstance(e, dict) for e in v)]
    columns = [v for v in record.values() if isinstance(v, list | dict)]
    if inside and len(record) - len(columns) < 2:
        raise FactcliError(f"{where} has its rows under {inside[0]!r}: write that list alone to a file.")
    if len(columns) == len(record) > 1 and len({len(c) for c in columns}) == 1:
        raise FactcliError(f"{where} has its rows by column: write an object for each row, {_EXAMPLE}.")
    return [record]


def _reason(error: ValueError) -> str:
    return " ".join(str(error).split())[:120]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
