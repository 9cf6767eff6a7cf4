"""A Typer command, made from what a command is asked."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..recipe.commands import Command
from ..recipe.fields import Declared

_METAVARS = {int: "N", float: "X"}
_PLAIN = (bool, int, float)  # what Typer reads; the rest are texts, which recipe/values.py reads


def command(made_from: Command, run: Callable[..., None]) -> Callable[..., None]:
    """A function with an option for each that is asked; it calls `run` with those that were given."""

    def called(**values: Any) -> None:
        run(**{name: value for name, value in values.items() if value is not None and value != []})

    shown = {name: one for name, one in made_from.options.items() if one.about.only != "file"}
    called.__doc__ = _help(made_from)
    called.__annotations__ = {name: _annotation(one) for name, one in shown.items()} | {"return": None}
    called.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=called.__annotations__[name],
            default=inspect.Parameter.empty if one.required else None,
        )
        for name, one in shown.items()
    ])  # fmt: skip
    return called


def _help(made_from: Command) -> str:
    """Examples, then what it does; \b keeps the lines of a paragraph as they are."""
    examples = "".join(f"\n  factcli {example}" for example in made_from.examples)
    return made_from.summary + (f"\n\n\b\nExamples:{examples}" if examples else "")


def _completion(one: Declared) -> Callable[[str], list[str]] | None:
    """What a value may be completed to, where there are names for it; of a list its last one."""
    known = tuple(one.about.known)
    if not known:
        return None

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",") if one.about.listed else ("", "", incomplete)
        return [before + comma + name for name in known if name.startswith(begun) and name not in before.split(",")]

    return complete


def _annotation(one: Declared) -> Any:
    kind = _kind(one)
    if one.about.only == "argument":
        several = "..." if one.several else ""
        return Annotated[kind, typer.Argument(metavar=one.spelled + several, help=one.help, show_default=False)]
    names = [f"{one.flag}/{one.about.no}" if one.about.no else one.flag, *filter(None, [one.about.short])]
    metavar = None if kind is bool else _METAVARS.get(kind, "TEXT")
    return Annotated[
        kind | None,
        typer.Option(
            *names, help=one.help, metavar=metavar, rich_help_panel=one.panel or None, autocompletion=_completion(one)
        ),
    ]


def _kind(one: Declared) -> Any:
    if one.several:
        return str if one.about.read or one.about.listed else list[str]
    kinds = [k for k in one.kinds if k is not Path]
    plain = len(kinds) == 1 and kinds[0] in _PLAIN and one.about.read is None
    kind = kinds[0] if plain else str
    return kind if one.required or one.about.only != "argument" else kind | None
