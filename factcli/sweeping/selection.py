"""--only: some runs of a sweep, by their labels or options."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from ..errors import UsageError

_PARTS = re.compile(r",(?=\s*[\w.$-]+\s*=)")  # a label may hold a comma


def selected(planned: Sequence[dict[str, Any]], only: str | None) -> set[str]:
    """The ids of the runs that "axis=label,option=value" names (of one name, one of several values); all without it.

    Parts that runs share are no runs of their own. Raises UsageError for what no run has.
    """
    runs = [each for each in planned if each["labels"]]
    if only is None:
        return {each["id"] for each in runs}
    wanted: dict[str, set[str]] = {}
    for part in _PARTS.split(only):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UsageError(f"--only {part!r} is not NAME=VALUE, such as 'task=mrpc,method=monarch'.")
        wanted.setdefault(name, set()).add(value)
    names = {name: None for each in runs for name in (*each["labels"], *each["options"])}
    for name, values in wanted.items():
        if name not in names:
            near = get_close_matches(name, names, n=1)
            raise UsageError(f"--only {name!r} is in no run: " + (f"did you mean {near[0]!r}?" if near else
                             f"known are {', '.join(names)}."))  # fmt: skip
        there = dict.fromkeys(value for each in runs for value in _values(each, name))
        for value in values - there.keys():
            raise UsageError(f"--only {name}={value}: no run has it, known are {', '.join(there)}.")
    found = {each["id"] for each in runs if all(set(_values(each, n)) & v for n, v in wanted.items())}
    if not found:
        raise UsageError(f"--only {only!r} leaves no run: no run has all of it.")
    return found


def _values(planned: dict[str, Any], name: str) -> list[str]:
    return [str(where[name]) for where in (planned["labels"], planned["options"]) if name in where]
