"""How a model was made, in sentences for its card; what repeats it is the command beside them."""

from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..recipe.factorizing import Recipe
from ..recipe.values import BUDGETS


def factorized(name: str, recipe: Recipe) -> str:
    """A sentence about the factorization of the model `name`."""
    values = recipe.to_dict()
    budget = next(f"{key} {values[key]}" for key in BUDGETS if key in values)
    data = f", on {values['calibration']}" if "calibration" in values else ""
    return (
        f"Factorized from {name}: {recipe.method} with {budget}, criterion {recipe.criterion}{data}, "
        f"{recipe.allocation} allocation (factcli {__version__})."
    )


def trimmed(name: str, recipe: Recipe, before: int, after: int) -> str:
    """A sentence about the smaller vocabulary of the model `name`."""
    file = recipe.to_dict()["vocabulary"]
    return f"Vocabulary of {name} cut from {before:,} to {after:,} tokens, by what {file} uses (factcli {__version__})."


def trained(settings: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """A sentence about a training: `settings` as a recipe holds them, `result` as `finetune` gives it."""
    said = [f"Fine-tuned on {result['task']}"]
    if "limit" in settings:
        said.append(f", its first {settings['limit']} examples")
    if "teacher" in settings:
        said.append(f", with {settings['teacher']} as its teacher")
    details = [
        *([f"pruned by {settings['prune']} to a density of {settings['density']:g}"] if "prune" in settings else []),
        *([f"schedule {result['schedule']}"] if "schedule" in settings else []),
        f"{result['steps']} steps of {settings['batch_size']} examples",
        f"learning rate {result['learning_rate']:g}",
        f"seed {result['seed']}",
        f"factcli {__version__}",
    ]
    return f"{''.join(said)} ({', '.join(details)})."
