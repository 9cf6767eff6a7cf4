"""A sweep file as it stands: axes, rows with names, what is left out, parts that runs share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..recipe.reading import load_file
from .options import COMMANDS, MAKERS, check_name

SHARED, AFTER, OWN = "shared:", "after", "$"
_KEYS = ("variables", "command", "options", "grid", "exclude", "shared", "report", "plot")
_INNER = ("command", "options")  # of one grid among several, beside its axes

Values = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A command or several, each on what the one before made, and their options before anything is filled in."""

    commands: tuple[str, ...]
    options: Values


@dataclass(frozen=True)
class Grid(Part):
    """A product: axis -> label -> the options that it stands for."""

    axes: dict[str, dict[str, Values]]


@dataclass(frozen=True)
class Sweep:
    """What a file says."""

    path: Path
    variables: Values
    grids: tuple[Grid, ...]
    exclude: tuple[Values, ...] = ()
    shared: dict[str, Part] = field(default_factory=dict)
    report: tuple[Values, ...] = ()
    plot: Values = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Of all products, before anything is left out."""
        total = 0
        for grid in self.grids:
            cells = 1
            for rows in grid.axes.values():
                cells *= len(rows)
            total += cells
        return total


def read_sweep(path: str | Path, changes: tuple[str, ...] = ()) -> Sweep:
    """The sweep of a file, with `changes` of its variables ("name=value").

    Raises FactcliError for a file that cannot be read, UsageError for what is wrong in it.
    """
    path = Path(path)
    values = load_file(path, "sweep file")
    _check_keys(values, _KEYS, f"The sweep file {path}")
    where = f"The sweep file {path}"
    variables = _changed(_mapping(values.get("variables"), f"{where}: variables"), changes, path)
    common = _mapping(values.get("options"), f"{where}: options")
    commands = _commands(values.get("command", "finetune"), where)
    given = values.get("grid")
    grids = given if isinstance(given, list) else [given]
    shared = {
        str(name): _part(_mapping(part, f"{where}: shared {name}"), commands, f"{where}: shared {name}")
        for name, part in _mapping(values.get("shared"), f"{where}: shared").items()
    }
    return Sweep(
        path,
        variables,
        tuple(_grid(_mapping(grid, f"{where}: grid"), commands, common, where) for grid in grids),
        tuple(_mapping(each, f"{where}: exclude") for each in _list(values.get("exclude"), f"{where}: exclude")),
        shared,
        tuple(_mapping(each, f"{where}: report") for each in _list(values.get("report"), f"{where}: report")),
        _mapping(values.get("plot"), f"{where}: plot"),
    )


def _grid(values: Values, commands: tuple[str, ...], common: Values, where: str) -> Grid:
    part = _own(values, commands, f"{where}: grid")
    options = {name: value for name, value in (common | part.options).items() if value is not None}  # null takes away
    part = _part(options | {"command": list(part.commands)}, commands, f"{where}: options")
    axes = {str(name): _axis(str(name), rows, part.commands, where) for name, rows in values.items()
            if name not in _INNER}  # fmt: skip
    if not axes:
        raise UsageError(f"{where} has an empty product: its grid names no option, such as 'seed: [1, 2, 3]'.")
    owners: dict[str, str] = {}
    for axis, rows in axes.items():
        for name in {name for options in rows.values() for name in options}:
            if name in owners:
                raise UsageError(f"{where}: both {owners[name]!r} and {axis!r} set {name!r}: leave it to one of them.")
            owners[name] = axis
    return Grid(part.commands, part.options, axes)


def _axis(name: str, rows: Any, commands: tuple[str, ...], where: str) -> dict[str, Values]:
    if isinstance(rows, Mapping):
        found = {str(label): _mapping(options, f"{where}: {name} {label}") for label, options in rows.items()}
        for label, options in found.items():
            _check_options(options, commands, f"{where}: {name} {label}")
    else:
        check_name(name, commands, f"{where}: grid")
        rows = rows if isinstance(rows, list) else [rows]
        found = {_label(value): {name: value} for value in rows}
        if len(found) < len(rows):
            raise UsageError(f"{where} names a value of {name!r} twice.")
    if not found:
        raise UsageError(f"{where} has an empty product: {name!r} has no values.")
    return found


def _own(values: Values, commands: tuple[str, ...], where: str) -> Part:
    """What one grid among several says beside its axes; its nulls are of options that it may not have."""
    return Part(_commands(values.get("command", list(commands)), where), _mapping(values.get("options"), where))


def _part(values: Values, commands: tuple[str, ...], where: str) -> Part:
    """Options beside `command`, or below `options`."""
    own = _commands(values.get("command", list(commands)), where)
    options = {name: value for name, value in values.items() if name not in _INNER}
    options |= _mapping(values.get("options"), f"{where}: options")
    _check_options(options, own, where)
    return Part(own, options)


def _check_options(options: Values, commands: tuple[str, ...], where: str) -> None:
    for name in options:
        if name != AFTER and not name.startswith(OWN):
            check_name(name, commands, where)


def _commands(given: Any, where: str) -> tuple[str, ...]:
    found = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    for name in found:
        if name not in COMMANDS:
            near = get_close_matches(str(name), COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"{where} has an unknown command {name!r}: {hint}known are {', '.join(COMMANDS)}.")
    if not found or len(set(found)) < len(found):
        raise UsageError(f"{where}: a run needs a command, and each of them once.")
    idle = next((name for name in found[:-1] if name not in MAKERS), None)
    if idle:
        raise UsageError(f"{where}: {idle!r} makes no model for the command after it: let it be the last.")
    return found


def _changed(variables: Values, changes: tuple[str, ...], path: Path) -> Values:
    import yaml

    found = dict(variables)
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change!r} is not NAME=VALUE.")
        if name not in variables:
            near = get_close_matches(name, variables, n=1)
            known = f"known are {', '.join(variables)}" if variables else "it has none"
            hint = f"did you mean {near[0]!r}?" if near else f"{known}."
            raise UsageError(f"--set {change!r}: {path} has no variable {name!r}: {hint}")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {change!r} has a value that cannot be read.") from error
    return found


def _check_keys(values: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for name in values:
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
            raise UsageError(f"{where} has an unknown key {name!r}: {hint}")


def _mapping(values: Any, where: str) -> Values:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{where} must be a mapping such as 'seed: [1, 2, 3]'.")
    return {str(name): value for name, value in values.items()}


def _list(values: Any, where: str) -> list[Any]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise UsageError(f"{where} must be a list.")
    return values


def _label(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
