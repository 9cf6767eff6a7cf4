"""Tables of a sweep's results as Markdown, laid out as the file says, beside the figures of a paper; and as JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from ..errors import FactcliError, UsageError
from ..files.atomic import write_json, write_text
from .cells import Cell, Runs, cell_of, compact, labels_of
from .figure import draw
from .layout import SCORE, Layout, labelled, layouts_of, plot_of, there
from .store import Store
from .task import DONE, FAILED

NONE = "-"
_MADE_BY = "Made by `factcli sweep "


def check_report(file: Path, store: Store) -> None:
    """Raises UsageError for what is no Markdown, FactcliError where a report could not be written, or would take the
    place of a file of the sweep's own or of what is no report."""
    if file.suffix.lower() != ".md":
        raise UsageError(f"--report {file} must end in .md: its numbers are beside it, in .json.")
    folder, numbers = file.absolute().parent, file.with_suffix(".json")
    made = store.local is not None and folder == store.local.absolute()  # with the sweep, if it is not there
    if not folder.is_dir() and not made:
        raise FactcliError(f"{folder} is not a directory: make it, or choose another --report.")
    if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
        raise FactcliError(f"{folder} is not writable: choose another --report.")
    if store.local is not None and store.is_own(numbers):
        raise UsageError(f"--report {file} would put {numbers.name} among the sweep's own files: choose another.")
    for each, is_ours in ((file, _is_report), (numbers, _is_numbers)):
        if os.path.lexists(each) and not is_ours(each):
            raise FactcliError(f"{each} is there and is no report of a sweep: choose another --report.")


def _is_report(file: Path) -> bool:
    """Whether `_head` stands in it."""
    with suppress(OSError, UnicodeDecodeError):
        return _MADE_BY in file.read_text(encoding="utf-8")
    return False


def _is_numbers(file: Path) -> bool:
    with suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return isinstance(found, dict) and found.keys() == {"tables"}
    return False


def write_reports(runs: Runs, plan: Mapping[str, Any], report: str | Path | None, plot: str | Path | None) -> None:
    """The tables of a plan's layouts, and its figure, of the runs as they are. Raises FactcliError where a file cannot
    be written, UsageError for a layout that fits no run."""
    layouts, runs = layouts_of(plan, runs), labelled(runs)
    try:
        if report is not None:
            tables = [_table(layout, runs, label) for layout in layouts for label in _tables(layout, runs)]
            file = Path(report)
            write_text(file, _head(runs, plan) + "".join(_markdown(table) for table in tables))
            write_json(file.with_suffix(".json"), {"tables": [_json(table) for table in tables]})
        if plot is not None:
            draw(runs, plot_of(plan, layouts, runs), Path(plot))
    except OSError as error:
        raise FactcliError(f"Cannot write the report {report or plot}: {error.strerror or error}.") from error


@dataclass(frozen=True)
class Table:
    layout: Layout
    label: str
    columns: list[str]
    rows: list[tuple[tuple[str, ...], dict[str, Cell]]]


def _tables(layout: Layout, runs: Runs) -> list[str]:
    return labels_of(_there(layout, runs), layout.tables) if layout.tables else [""]


def _there(layout: Layout, runs: Runs) -> Runs:
    """The runs that a layout is about."""
    return there(runs, layout.axes, layout.where)


def _table(layout: Layout, runs: Runs, label: str) -> Table:
    there = [run for run in _there(layout, runs) if not label or run["labels"][layout.tables] == label]
    columns = labels_of(there, layout.columns)
    rows = []
    for row in product(*(labels_of(there, axis) for axis in layout.rows)):
        group = [run for run in there if tuple(run["labels"][axis] for axis in layout.rows) == row]
        if group:
            rows.append((row, {
                column: cell_of([run for run in group if run["labels"][layout.columns] == column], layout.score)
                for column in columns
            }))  # fmt: skip
    return Table(layout, label, columns, rows)


# --- Markdown


def _head(runs: Runs, plan: Mapping[str, Any]) -> str:
    states = [run["state"] for run in runs]
    errors = [run for run in runs if run["state"] == FAILED]
    said = f"{states.count(DONE)} of {len(states)} runs are done"
    said += f", {len(errors)} ended in an error" if errors else ""
    file = str(plan.get("file", "FILE"))
    return (
        f"# {Path(file).stem}\n\n{_MADE_BY}{file} --report`: {said}. A cell is the mean over its seeds,\n"
        "which are in brackets, with the sample deviation. A failed run has an accuracy at or below that of the\n"
        "training set's commonest label, or diverged; `mean of successful` leaves these out.\n"
    )


def _markdown(table: Table) -> str:
    layout = table.layout
    score = layout.kind == SCORE
    ends = ["mean of all", "mean of successful", "failed runs"] if score else ["all"]
    lines = [f"\n## {layout.title}{': ' + table.label if table.label else ''}\n"]
    lines += [f"{layout.text.strip()}\n"] if layout.text else []
    lines += [f"| {' | '.join([*layout.rows, *table.columns, *ends])} |",
              "|---" * (len(layout.rows) + len(table.columns) + len(ends)) + "|"]  # fmt: skip
    for row, cells in table.rows:
        shown = [_score(cells[column], layout) if score else _share(cells[column]) for column in table.columns]
        tail = _means(cells, layout) if score else [_share(*cells.values())]
        lines.append(f"| {' | '.join([*row, *shown, *tail])} |")
        paper = _paper(layout, table.label, row)
        if paper:
            shown = [f"*{paper[column]}*" if column in paper else NONE for column in table.columns]
            average = f"*{paper['mean']}*" if "mean" in paper else NONE
            name = [*row[:-1], f"*{row[-1]}, paper*"] if row else []
            lines.append(f"| {' | '.join([*name, *shown])} | " +
                         (f"{NONE} | {average} | {NONE} |" if score else f"{average} |"))  # fmt: skip
    return "\n".join(lines) + "\n"


def _score(cell: Cell, layout: Layout) -> str:
    if cell.mean is None:
        return "" if not cell.failed else NONE
    spread = f" ± {layout.scale * cell.deviation:.{layout.digits}f}" if cell.deviation is not None else ""
    return f"{layout.scale * cell.mean:.{layout.digits}f}{spread} ({compact(cell.seeds)})"


def _means(cells: Mapping[str, Cell], layout: Layout) -> list[str]:
    """Over the columns, where each has one."""
    found = []
    for name in ("mean", "mean_successful"):
        values = [getattr(cell, name) for cell in cells.values()]
        whole = mean(values) if None not in values else None
        found.append(f"{layout.scale * whole:.{layout.digits}f}" if whole is not None else NONE)
    return [*found, f"{sum(c.failed for c in cells.values())} of {sum(c.runs for c in cells.values())}"]


def _share(*cells: Cell) -> str:
    failed, runs = sum(cell.failed for cell in cells), sum(cell.runs for cell in cells)
    return f"{100 * failed / runs:.1f} % ({failed} of {runs})" if runs else ""


def _paper(layout: Layout, label: str, row: Sequence[str]) -> dict[str, Any]:
    found: Any = layout.paper
    for step in ([label] if layout.tables else []) + list(row):
        found = {str(k): v for k, v in found.items()}.get(step, {}) if isinstance(found, Mapping) else {}
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


# --- JSON


def _json(table: Table) -> dict[str, Any]:
    layout = table.layout
    return {
        "title": layout.title,
        "table": table.label,
        "rows": [
            {
                "row": dict(zip(layout.rows, row, strict=True)),
                "cells": {column: cell.to_json() for column, cell in cells.items()},
                "failed": sum(cell.failed for cell in cells.values()),
                "runs": sum(cell.runs for cell in cells.values()),
                "paper": _paper(layout, table.label, row),
            }
            for row, cells in table.rows
        ],
    }
