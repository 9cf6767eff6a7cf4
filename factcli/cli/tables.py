"""Tables for people, on stdout, which keep within the width that there is."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence

import typer
from rich.cells import cell_len, set_cell_size

WIDTH = 100  # where nobody watches, and no COLUMNS says otherwise
_GAP = "  "
_INDENT = "  "
_NUMBER = re.compile(r"[-+]?\d")

Column = list[str]  # its name, then its cells


class Columns:
    """A table as it grows. The first `keys` columns name the rows; numbers stand on the right of their column."""

    def __init__(self, *names: str, keys: int = 1) -> None:
        self.columns: list[Column] = [[name] for name in names]
        self.keys = keys

    def add_row(self, *cells: str) -> None:
        for column, cell in zip(self.columns, cells, strict=True):
            column.append(cell)


def columns(*names: str, keys: int = 1) -> Columns:
    """An empty table; behind the `keys` the names of what matters most come first."""
    return Columns(*names, keys=keys)


def show(table: Columns) -> None:
    """Print it. What does not fit is neither wrapped nor cut: what all rows have in common is said once, above; long
    names of rows get lines of their own; columns that are left are continued below, beside the names again."""
    for line in laid_out(table, width()):
        typer.echo(line)


def width() -> int:
    """Of lines: that of the terminal, or WIDTH."""
    return shutil.get_terminal_size((WIDTH, 0)).columns or WIDTH


def wrapped(text: str, indent: int = 0) -> None:
    """Print a text in lines that fit; those after the first stand `indent` further in."""
    kept = {"break_long_words": False, "break_on_hyphens": False}
    for line in textwrap.wrap(text, max(20, width()), subsequent_indent=" " * indent, **kept):  # type: ignore[arg-type]
        typer.echo(line)


def alike(values: Sequence[float], digits: int = 3) -> list[str]:
    """Numbers with as many decimals, so many that the smallest has about that many digits."""
    least = min((abs(value) for value in values if value), default=1.0)
    decimals = next((d for d in range(digits) if least * 10**d >= 10 ** (digits - 1)), digits)
    return [f"{value:,.{decimals}f}" for value in values]


def laid_out(table: Columns, width: int) -> Iterator[str]:
    """The lines of a table, at most `width` wide where its cells are not wider by themselves."""
    first, *others = table.columns
    keys = [column for column in others[: table.keys - 1] if any(column[1:])]
    shown = [column for column in others[table.keys - 1 :] if any(column[1:])]
    common: list[Column] = []
    for kind in (keys, shown):
        for place in reversed(range(len(kind))):
            if _wide([first]) <= width < _wide([first, *keys, *shown]) and len(set(kind[place][1:])) == 1:
                common.append(kind.pop(place))
    if common:
        said = ", ".join(f"{column[0]} {column[1]}".strip() for column in others if column in common)
        yield from textwrap.wrap(said, width, break_long_words=False)
    names = [first, *keys]
    apart = _wide([*names, *shown]) > width and _wide(names) > width // 2
    parts = list(_parts(shown, width - (len(_INDENT) if apart else _wide(names) + len(_GAP))))
    for number, part in enumerate(parts or [[]]):
        if number:
            yield ""
        yield from _stacked(names, part) if apart else _rows([*names, *part])


def _parts(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """As many columns as fit beside each other, then as many of the rest; one at least."""
    part: list[Column] = []
    for column in columns:
        if part and _wide([*part, column]) > width:
            yield part
            part = []
        part.append(column)
    if part:
        yield part


def _stacked(names: Sequence[Column], part: Sequence[Column]) -> Iterator[str]:
    """Each row below its name."""
    for name, row in zip(zip(*names, strict=True), _rows(part, named=False), strict=True):
        yield _GAP.join(name).rstrip()
        yield _INDENT + row


def _rows(columns: Sequence[Column], named: bool = True) -> list[str]:
    widths = [_wide([column]) for column in columns]
    numbers = [any(map(_NUMBER.match, column[1:])) and not (named and column is columns[0]) for column in columns]
    lines = []
    for cells in zip(*columns, strict=True):
        padded = [
            " " * (wide - cell_len(cell)) + cell if right else set_cell_size(cell, wide)
            for cell, wide, right in zip(cells, widths, numbers, strict=True)
        ]
        lines.append(_GAP.join(padded).rstrip())
    return [typer.style(lines[0], bold=True), *lines[1:]]


def _wide(columns: Sequence[Column]) -> int:
    """Cells of a terminal that columns take beside each other."""
    widths = [max(map(cell_len, column)) for column in columns]
    return sum(widths) + len(_GAP) * max(0, len(widths) - 1)
