"""How tables and a figure are laid out, as a sweep file says: read before anything is run, when labels are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..errors import UsageError
from .cells import Runs

SCORE, FAILED_RUNS = "score", "failed"


@dataclass(frozen=True)
class Layout:
    """A table: axes of its rows, of its columns, and of the tables that it is several of. `kind` "score" or "failed":
    means, or shares of failed runs. `paper` has figures by table, rows and column."""

    title: str = "Results"
    rows: tuple[str, ...] = ()
    columns: str = ""
    tables: str = ""
    text: str = ""
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    score: str = "metrics.accuracy"
    scale: float = 100
    digits: int = 1
    kind: str = SCORE
    paper: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, values: Mapping[str, Any], runs: Runs) -> "Layout":
        """Raises UsageError for what a layout has not, for a value that is of another kind, and for an axis or a label
        that no run has."""
        made = cls(**_checked(values, _OF_A_REPORT, "A report"))
        if not made.columns:
            raise UsageError(f"The report {made.title!r} has no 'columns': name an axis.")
        _check_axes(made.axes, made.where, runs, "A report")
        return made

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.rows, self.columns, *filter(None, [self.tables]))


@dataclass(frozen=True)
class Plot:
    """A figure: the axes of its x, of its lines and of its panels; the rest as in a Layout."""

    x: str
    lines: str
    panels: str
    where: Mapping[str, tuple[str, ...]]
    kind: str
    score: str
    scale: float

    @classmethod
    def read(cls, values: Mapping[str, Any], layout: Layout, runs: Runs) -> "Plot":
        """By default it shows what the first table does. Raises UsageError as Layout.read, and where no run has all of
        its axes."""
        rows = layout.rows or (layout.columns,)
        given = {"x": rows[0], "lines": rows[-1], "panels": layout.columns, "where": layout.where, "kind": layout.kind}
        made = cls(**given | _checked(values, _OF_A_PLOT, "The plot"), score=layout.score, scale=layout.scale)
        _check_axes(made.axes, {}, runs, "The plot")
        if "where" in values:
            _check_axes((), made.where, runs, "The plot")
        if not there(runs, made.axes, made.where):
            raise UsageError(f"The plot's axes {made.x}, {made.lines} and {made.panels} are in no run.")
        return made

    @property
    def axes(self) -> tuple[str, ...]:
        return self.x, self.lines, self.panels


def layouts_of(plan: Mapping[str, Any], runs: Runs) -> list[Layout]:
    """The tables of a plan; where its file names none, one of what `runs`, some of the plan's, differ in."""
    return [Layout.read(values, labelled(plan["runs"])) for values in plan.get("report") or [_plain(labelled(runs))]]


def plot_of(plan: Mapping[str, Any], layouts: Sequence[Layout], runs: Runs) -> Plot:
    """The figure of a plan, for some of its runs."""
    return Plot.read(plan.get("plot") or {}, layouts[0], labelled(runs))


def check_layouts(plan: Mapping[str, Any]) -> None:
    """Raises UsageError for what is wrong in the sections `report` and `plot`, asked for or not."""
    layouts = layouts_of(plan, plan["runs"])
    if plan.get("plot"):
        plot_of(plan, layouts, plan["runs"])


def labelled(runs: Runs) -> Runs:
    """Without the parts that runs share."""
    return [run for run in runs if run["labels"]]


def there(runs: Runs, axes: Sequence[str], where: Mapping[str, tuple[str, ...]]) -> Runs:
    """The runs that have these axes, and of others these labels."""
    return [run for run in runs if set(axes) <= run["labels"].keys()
            and all(run["labels"].get(axis) in labels for axis, labels in where.items())]  # fmt: skip


def _plain(runs: Runs) -> dict[str, Any]:
    """A row for each axis but the last beside the seeds, which are an axis where there is no other."""
    axes = [axis for axis in dict.fromkeys(a for run in runs for a in run["labels"]) if axis != "seed"] or ["seed"]
    return {"rows": axes[:-1] or axes, "columns": axes[-1]}


def _check_axes(axes: Sequence[str], where: Mapping[str, tuple[str, ...]], runs: Runs, what: str) -> None:
    labels: dict[str, dict[str, None]] = {}
    for run in runs:
        for axis, label in run["labels"].items():
            labels.setdefault(axis, {})[label] = None
    for axis in (*axes, *where):
        if axis not in labels:
            raise UsageError(f"{what} has the axis {axis!r}, which no run has: {_near(axis, labels)}")
    for axis, wanted in where.items():
        for label in wanted:
            if label not in labels[axis]:
                raise UsageError(f"{what} is where {axis} is {label!r}, which no run has: {_near(label, labels[axis])}")


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."


# --- values

_Read = Callable[[Any], Any]


def _checked(values: Mapping[str, Any], known: Mapping[str, tuple[_Read, str]], what: str) -> dict[str, Any]:
    """What is given, read; null is not given."""
    found = {}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{what} has an unknown key {name!r}: {_near(name, known)}")
        read, words = known[name]
        if value is not None:
            try:
                found[name] = read(value)
            except ValueError:
                raise UsageError(f"{what} has {name}: {value!r}, which is not {words}.") from None
    return found


def _text(value: Any) -> str:
    if isinstance(value, (list, dict)):
        raise ValueError
    return str(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(each) for each in (value if isinstance(value, list) else [value]))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError
    return {str(name): each for name, each in value.items()}


def _where(value: Any) -> dict[str, tuple[str, ...]]:
    return {axis: _texts(labels) for axis, labels in _mapping(value).items()}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError
    return value


def _kind(value: Any) -> str:
    if value not in (SCORE, FAILED_RUNS):
        raise ValueError
    return str(value)


_AXIS = (_text, "an axis")
_BOTH: dict[str, tuple[_Read, str]] = {
    "where": (_where, "a mapping of axes to labels"),
    "kind": (_kind, f"{SCORE} or {FAILED_RUNS}"),
}
_OF_A_REPORT: dict[str, tuple[_Read, str]] = _BOTH | {
    "title": (_text, "a text"), "text": (_text, "a text"), "tables": _AXIS, "columns": _AXIS,
    "rows": (_texts, "an axis or a list of them"), "score": (_text, "the way into a result"),
    "scale": (_number, "a number"), "digits": (_count, "a count"), "paper": (_mapping, "a mapping"),
}  # fmt: skip
_OF_A_PLOT: dict[str, tuple[_Read, str]] = _BOTH | {"x": _AXIS, "lines": _AXIS, "panels": _AXIS}
