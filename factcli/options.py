"""What was asked for: which options were given, whether their values can be values, and whether they change anything.

None is "not given", everywhere; 0, False, "" and () are values.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .notes import note

_ARGUMENTS = {"model": "MODEL", "models": "MODEL", "folder": "DIRECTORY", "repo_id": "REPO_ID"}
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """When `options` have no effect.

    `because` says so of the values of all options: a phrase such as "with --method low-rank", or None where they have
    one. `instead` is what would give them one. `by` are the options that take it away: a value of a recipe that only
    they contradict is no mistake in the recipe.
    """

    options: tuple[str, ...]
    because: Callable[[Values], str | None]
    instead: str = ""
    by: tuple[str, ...] = ()


def unless(effective: object, because: str) -> str | None:
    """A rule's answer: `because`, unless the option has an effect."""
    return None if effective else because


def spelled(name: str) -> str:
    """The keyword as the command line has it."""
    return _ARGUMENTS.get(name, f"--{name.replace('_', '-')}")


def given(values: Values) -> set[str]:
    """The names of the options that have a value."""
    return {name for name, value in values.items() if value is not None}


def check_values(values: Values) -> None:
    """Raises UsageError for a text that is empty and for a number that is not finite, whichever option has it."""
    for name, value in values.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, str) and not item.strip():
                raise UsageError(f"{spelled(name)} is empty: leave it out, or give a value.")
            if isinstance(item, float) and not math.isfinite(item):
                raise UsageError(f"{spelled(name)} {item} is not a finite number.")


def without_effect(name: str, because: str, instead: str = "") -> UsageError:
    """The refusal of an option that changes nothing."""
    advice = f"leave it out, or {instead}" if instead else "leave it out"
    return UsageError(f"{name} has no effect {because}: {advice}.")


def idle(rules: Sequence[Rule], values: Values) -> dict[str, tuple[Rule, str]]:
    """The options that have no effect beside these values: for each its rule, and why."""
    found: dict[str, tuple[Rule, str]] = {}
    for rule in rules:
        because = rule.because(values)
        if because is not None:
            found |= {name: (rule, because) for name in rule.options if name not in found}
    return found


def refuse_idle(
    rules: Sequence[Rule], values: Values, flags: Collection[str], recipe: str = "", keys: Collection[str] = ()
) -> None:
    """Raises UsageError where one of the options `flags` has no effect, or one of the `keys` of the file `recipe`.

    A key that lost its effect to an option is noted and passed over.
    """
    for name, (rule, because) in idle(rules, values).items():
        if name in flags:
            raise without_effect(spelled(name), because, rule.instead)
        if name in keys and set(rule.by) & set(flags):
            note(f"'{name}' in the recipe {recipe} has no effect {because}.")
        elif name in keys:
            raise without_effect(f"'{name}' in the recipe {recipe}", because, rule.instead)


PUBLISHING = (
    Rule(
        ("hub_model_id", "private"),
        lambda v: unless(v["push_to_hub"], "without --push-to-hub"),
        "give --push-to-hub",
    ),
)


def check_seed(name: str, seed: int) -> None:
    """Raises UsageError for a seed that some random generator cannot take."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"{spelled(name)} {seed} is not a whole number from 0 to {2**32 - 1}.")
