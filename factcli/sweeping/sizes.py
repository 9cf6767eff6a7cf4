"""What a plan says of sizes before anything is run."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..notes import note
from ..recipe.factorizing import Recipe
from ..recipe.fields import declared
from ..recipe.reading import resolve
from ..recipe.registry import allocations, criteria
from ..recipe.values import BUDGETS
from .options import divided
from .task import Task

Sizes = Callable[[Mapping[str, Any]], dict[str, Any] | None]


def with_sizes(planned: Sequence[dict[str, Any]], tasks: Sequence[Task], sizes: Sizes) -> list[dict[str, Any]]:
    """The plan with {"parameters", "targets"} as the result of each run that factorizes by shapes alone. Where its
    model is not at hand there is none, which is said."""
    by_id, asked, found, unknown = {task.id: task for task in tasks}, {}, [], set()
    for each in planned:
        values = _by_shape(by_id[each["id"]])
        result = None
        if values is not None:
            text = json.dumps(values, sort_keys=True, default=str)
            if text not in asked:
                asked[text] = sizes(values) if str(values["model"]) not in unknown else None
            result = asked[text]
            if result is None:
                unknown.add(str(values["model"]))
        found.append(each | {"result": result})
    if unknown:
        note(f"Sizes are not known before {', '.join(sorted(unknown))} {'are' if len(unknown) > 1 else 'is'} at hand.")
    return found


def _by_shape(task: Task) -> dict[str, Any] | None:
    """What `convert` is asked for the same plan; None where that takes weights or data, or nothing is factorized."""
    names = declared(Recipe)
    values = {name: value for name, value in divided(task.commands, task.options)[0].items() if name in names}
    model = task.options.get("model")
    if model is None or task.texts or not any(values.get(name) is not None for name in BUDGETS):
        return None
    recipe = resolve(Recipe, values)
    if criteria[recipe.criterion].needs or allocations[recipe.allocation].needs_gains or "vocabulary" in values:
        return None
    asked = {name: value for name, value in values.items() if name not in ("max_length", "text_column", "label_column")}
    revision = {"revision": task.options["revision"]} if "revision" in task.options else {}
    return asked | {"model": model, "seed": 0} | revision
