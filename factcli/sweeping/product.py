"""From a sweep file to its runs: products, what is left out, and the parts that several runs share."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from typing import Any

from ..errors import UsageError
from .file import AFTER, OWN, SHARED, Grid, Part, Sweep, Values
from .options import MAKERS, check_values

_HOLE = re.compile(r"\{([A-Za-z_][\w-]*)\}")


@dataclass(frozen=True)
class Run:
    """A run with everything filled in. `parts`: option -> the run whose model is its value; `after`: what else must
    have been run before; `shared`: its name as a part of others."""

    labels: Mapping[str, str]
    commands: tuple[str, ...]
    options: Values
    parts: Mapping[str, "Run"] = field(default_factory=dict)
    after: tuple["Run", ...] = ()
    shared: str = ""

    @property
    def name(self) -> str:
        """For the user."""
        labels = ", ".join(f"{axis}={label}" for axis, label in self.labels.items())
        return f"{SHARED}{self.shared}" if self.shared else labels


def runs_of(sweep: Sweep) -> Iterator[Run]:
    """The runs of the products, without those that are left out; the parts they share hang on them.

    Raises UsageError for what cannot be filled in, and for a value that an option cannot have.
    """
    for each in sweep.exclude:
        _check_axes(each, sweep)
    for grid in sweep.grids:
        for cell in product(*(rows.items() for rows in grid.axes.values())):
            labels = dict(zip(grid.axes, (label for label, _ in cell), strict=True))
            if not any(_matches(labels, each) for each in sweep.exclude):
                yield _made(sweep, grid, labels, [options for _, options in cell])


def _made(sweep: Sweep, grid: Grid, labels: dict[str, str], rows: list[Values]) -> Run:
    given = dict(grid.options)
    for options in rows:
        given |= options
    known: Values = dict(sweep.variables)
    known |= {name.removeprefix(OWN): value for name, value in given.items() if name.startswith(OWN)}
    known |= {axis: _plain(given.get(axis, label), label) for axis, label in labels.items()}
    name = ", ".join(f"{axis}={label}" for axis, label in labels.items())
    return _filled(sweep, Part(grid.commands, given), known, labels, "", (), f"The run {name} of {sweep.path}")


def _plain(value: Any, label: str) -> Any:
    """What an axis fills in: its value as it is, or its row's name."""
    return value if not isinstance(value, str) or not _HOLE.search(value) else label


def _filled(
    sweep: Sweep, part: Part, known: Values, labels: Mapping[str, str], shared: str, above: tuple[str, ...], where: str
) -> Run:
    """A part with its holes filled in, and its shared parts below it; `above` are the names of those that it is of."""
    options: Values = {}
    parts: dict[str, Run] = {}
    after: list[Run] = []

    def below(name: str) -> Run:
        if name not in sweep.shared:
            near = get_close_matches(name, sweep.shared, n=1)
            hint = f": did you mean {near[0]!r}?" if near else "."
            raise UsageError(f"{where} asks for {SHARED}{name}, which is not below 'shared'{hint}")
        if name in above:
            raise UsageError(f"{where} goes in a circle: {SHARED}{name} needs itself.")
        inner = sweep.shared[name]
        own = {key.removeprefix(OWN): v for key, v in inner.options.items() if key.startswith(OWN)}
        return _filled(sweep, inner, known | own, {}, name, (*above, name), f"{SHARED}{name} of {sweep.path}")

    for name, value in part.options.items():
        if name.startswith(OWN):  # for holes, which it has filled in
            continue
        value = _fill(value, known, where)
        if name == AFTER:
            after += [below(_shared_name(each, where)) for each in (value if isinstance(value, list) else [value])]
        elif isinstance(value, str) and value.startswith(SHARED):
            parts[name] = below(value.removeprefix(SHARED))
            if not set(parts[name].commands) & set(MAKERS):
                raise UsageError(f"{where}: {value} makes no model that {name!r} could be.")
        elif value is not None:
            options[name] = value
    stood_in = options | dict.fromkeys(parts, "shared")
    if not any(name.rpartition(".")[2] == "model" for name in stood_in):
        raise UsageError(f"{where} has no 'model', a directory or Hub id.")
    check_values(part.commands, stood_in, where)
    return Run(labels, part.commands, options, parts, tuple(after), shared)


def _shared_name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.startswith(SHARED):
        raise UsageError(f"{where}: 'after' names shared parts, such as {SHARED}dense, not {value!r}.")
    return value.removeprefix(SHARED)


def _fill(value: Any, known: Values, where: str, within: tuple[str, ...] = ()) -> Any:
    """`{name}` alone is the value of that name; within a text it is its text. `within` are the names that it is of."""
    if isinstance(value, list):
        return [_fill(each, known, where, within) for each in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> Any:
        name = match[1]
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known are {', '.join(known) or 'none'}."
            raise UsageError(f"{where} has {match[0]}, which nothing fills in: {hint}")
        if name in within:
            raise UsageError(f"{where} goes in a circle: {{{name}}} is filled in with itself.")
        return _fill(known[name], known, where, (*within, name))

    whole = _HOLE.fullmatch(value)
    return found(whole) if whole else _HOLE.sub(lambda match: str(found(match)), value)


def _matches(labels: Mapping[str, str], wanted: Values) -> bool:
    """Whether a run has every label that is named, or one of a list of them."""
    return all(
        labels.get(axis) in {str(each) for each in (value if isinstance(value, list) else [value])}
        for axis, value in wanted.items()
    )


def _check_axes(wanted: Values, sweep: Sweep) -> None:
    """Raises UsageError for a label that no grid has."""
    axes: dict[str, dict[str, None]] = {}
    for grid in sweep.grids:
        for axis, rows in grid.axes.items():
            axes.setdefault(axis, {}).update(dict.fromkeys(rows))
    for axis, value in wanted.items():
        if axis not in axes:
            near = get_close_matches(axis, axes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(axes)}."
            raise UsageError(f"The sweep file {sweep.path}: exclude names {axis!r}, which no grid has: {hint}")
        for each in value if isinstance(value, list) else [value]:
            if str(each) not in axes[axis]:
                known = ", ".join(axes[axis])
                raise UsageError(f"The sweep file {sweep.path}: exclude has {axis}={each}: known are {known}.")
