"""What a plan says of sizes before anything is run."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import FactcliError, one_line
from ..notes import note
from ..recipe.factorizing import Recipe
from ..recipe.fields import declared
from ..recipe.reading import resolve
from ..recipe.registry import allocations, criteria
from ..recipe.values import BUDGETS
from .options import divided
from .task import Task

Sizes = Callable[[Mapping[str, Any]], dict[str, Any]]


def with_sizes(planned: Sequence[dict[str, Any]], tasks: Sequence[Task], sizes: Sizes) -> list[dict[str, Any]]:
    """The plan with {"parameters", "targets"} as the result of each run that factorizes by shapes alone, or as its
    `error` why that cannot be. Where its model is not at hand there is neither, which is said."""
    by_id, found = {task.id: task for task in tasks}, []
    asked: dict[str, dict[str, Any]] = {}
    unknown = set()
    for each in planned:
        values = _of_plan(by_id[each["id"]])
        text = json.dumps(values, sort_keys=True, default=str)
        if text not in asked and _by_shape(values) and values["model"] not in unknown:
            try:
                asked[text] = {"result": sizes(values)}
            except FactcliError as error:
                if error.passing:
                    unknown.add(values["model"])
                else:
                    asked[text] = {"error": one_line(error)}
        found.append(each | {"result": None} | asked.get(text, {}))
    if unknown:
        note(f"Sizes are not known before {', '.join(sorted(unknown))} {'are' if len(unknown) > 1 else 'is'} at hand.")
    return found


def _of_plan(task: Task) -> dict[str, Any]:
    """What `convert` is asked for the same plan; nothing where that is not known from the options alone."""
    if "model" not in task.options or task.texts:
        return {}
    names = (declared(Recipe).keys() | {"model", "revision"}) - {"max_length", "text_column", "label_column", "seed"}
    return {name: value for name, value in divided(task.commands, task.options)[0].items() if name in names}


def _by_shape(values: Mapping[str, Any]) -> bool:
    """Whether something is factorized, by what shapes alone decide."""
    if not any(values.get(name) is not None for name in BUDGETS) or "vocabulary" in values:
        return False
    recipe = resolve(Recipe, {name: value for name, value in values.items() if name not in ("model", "revision")})
    return not (criteria[recipe.criterion].needs or allocations[recipe.allocation].needs_gains)
