"""Tables with types: parquet, arrow and feather files, and data sets of the library `datasets`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, overload

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from ..errors import FactcliError
from .text import not_utf8

Read = tuple[tuple[str, ...], tuple["ArrowColumn", ...], int, Mapping[str, tuple[str, ...]]]


class ArrowColumn(Sequence[Any]):
    """A column that becomes Python's values when they are asked for."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "ArrowColumn": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            return ArrowColumn(self._column.slice(start, stop - start))
        return self._column[index].as_py()

    def values(self, what: str) -> list[Any]:
        """Its values; bytes are read as text in UTF-8. Raises FactcliError, with `what` it is of, for others."""
        column, kind = self._column, self._column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        try:
            values = column.to_pylist()
        except UnicodeDecodeError:  # a column of texts that are none
            values = column.cast(pa.large_binary()).to_pylist()
        return [_text(v, what, row) if isinstance(v, bytes) else v for row, v in enumerate(values, 1)]


def _text(value: bytes, what: str, row: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise FactcliError(f"{what} {not_utf8(value, error, f'row {row}')}") from error


def read_parquet(file: Any, where: str) -> Read:
    """Names, columns, number of rows and names of classes, of a file of pyarrow's. Raises FactcliError for what is not
    parquet."""
    try:
        return from_arrow(pa.parquet.ParquetFile(file).read())
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(where, "parquet", error) from error


def read_arrow(file: Any, where: str) -> Read:
    """The same of an arrow file or stream (as `datasets` saves them), or feather."""
    try:
        return from_arrow(pa.ipc.open_file(file).read_all())
    except (pa.ArrowException, OSError):
        try:
            file.seek(0)
            return from_arrow(pa.ipc.open_stream(file).read_all())
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(where, "arrow", error) from error


def from_arrow(table: pa.Table) -> Read:
    """The same of a table in memory."""
    names = tuple(table.column_names)
    columns = tuple(ArrowColumn(table.column(i)) for i in range(len(names)))
    return names, columns, table.num_rows, _classes(table.schema.metadata or {})


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """The names of classes that `datasets` keeps in the metadata of its files, by column."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, dict | list):  # a list of ids: {"feature": {...}}, or [{...}]
            inner = feature[0] if isinstance(feature, list) and feature else feature
            if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
                found[column] = tuple(str(name) for name in inner["names"])
            feature = inner.get("feature") if isinstance(inner, dict) else None
    return found


def _unreadable(where: str, kind: str, error: Exception) -> FactcliError:
    return FactcliError(
        f"{where} cannot be read as {kind} ({' '.join(str(error).split())[:150]}): check that it is whole."
    )
