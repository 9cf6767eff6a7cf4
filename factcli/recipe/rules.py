"""Options that change nothing: when, why, and what would give them an effect."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..notes import note
from .fields import declared, spelled
from .registry import Registry

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


def of_owners(key: str, registry: Registry[Any], by: tuple[str, ...] = (), none: str = "") -> tuple[Rule, ...]:
    """An option that a choice owns is for those that own it; and what the choices say of their own. `key` is the option
    that names the choice, `none` says why nothing is chosen."""
    owners: dict[str, list[str]] = {}
    for entry in registry:
        for name in declared(registry[entry].options):
            owners.setdefault(name, []).append(entry)

    def foreign(name: str, entries: list[str]) -> Rule:
        def because(v: Values) -> str | None:
            if v[key] is None:
                return none
            return unless(v[key] in entries, f"with {registry.option} {v[key]}")

        return Rule((name,), because, f"take {registry.option} {' or '.join(entries)}", (key, *by))

    def own(entry: str, rule: Rule) -> Rule:
        return replace(rule, because=lambda v: rule.because(v) if v[key] == entry else None)

    return (
        *(foreign(name, entries) for name, entries in owners.items()),
        *(own(entry, rule) for entry in registry for rule in registry[entry].rules),
    )
