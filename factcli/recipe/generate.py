"""What is made from the declarations: the typed stub, the schema of recipe files, the reference of options.

`python -m factcli.recipe.generate` writes them; a test holds them against the declarations.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

from .commands import COMMANDS, Command
from .factorizing import Recipe
from .fields import Declared, declared
from .training import Settings

PACKAGE = Path(__file__).parent.parent
STUB, SCHEMA = PACKAGE / "__init__.pyi", PACKAGE / "recipe" / "schema.json"
REFERENCE = PACKAGE.parent / "docs" / "reference" / "options.md"
_HEAD = '''"""Made by `python -m factcli.recipe.generate` from the declarations in factcli/recipe: see there."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal

from .models.export import load as load
from .errors import FactcliError as FactcliError
from .training.events import Event

__version__: str
__all__: list[str]
'''
_CALLED = {"progress": "Callable[[int, int, str], None]", "watch": "Callable[[Event], None]"}
_RESULTS = {"evaluate": "list[dict[str, Any]]"}


def stub() -> str:
    """The public functions with their keywords and types."""
    return _HEAD + "\n".join(_function(command) for command in sorted(COMMANDS, key=lambda c: c.called_as))


def _function(command: Command) -> str:
    parts = []
    for name, parameter in command.signature.parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        one = command.keywords.get(name)
        kind = _CALLED[name] if one is None else _typed(one)
        required = parameter.default is parameter.empty
        parts.append(f"{name}: {kind}" if required else f"{name}: {kind} | None = ...")
    inner = "".join(f"    {part},\n" for part in parts)
    result = _RESULTS.get(command.called_as, "dict[str, Any]")
    return f'def {command.called_as}(\n{inner}) -> {result}:\n    """{command.summary}"""\n'


def _typed(one: Declared) -> str:
    """The type of a keyword in the stub: what may be given, without None."""
    kinds = [_name(kind) for kind in one.kinds]
    if one.about.known and not one.several:
        kinds = [f"Literal[{', '.join(map(repr, one.about.known))}]".replace("'", '"'), "str"]
    if one.about.read is not None and "str" not in kinds:
        kinds.append("str")
    return " | ".join(dict.fromkeys(part for kind in kinds for part in kind.split(" | ")))


def _name(kind: Any) -> str:
    if get_origin(kind) is tuple:
        (inner, *_) = get_args(kind)
        return f"{inner.__name__} | Sequence[{inner.__name__}]"
    return "PathLike[str]" if kind is Path else str(kind.__name__)


def schema() -> str:
    """The JSON schema of a recipe file, for editors."""
    values = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "factcli recipe",
        "type": "object",
        "properties": _properties(Recipe)
        | {"training": {"type": "object", "description": "How it is trained.", "properties": _properties(Settings),
                        "additionalProperties": False},
           "made_with": {"type": "object", "description": "What an export was made with; not read."},
           "trained_on": {"type": "object", "description": "What the model was trained on; not part of the recipe."}},
        "additionalProperties": False,
    }  # fmt: skip
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _properties(group: Any) -> dict[str, Any]:
    return {name: one.json_schema() for name, one in declared(group).items()}


def reference() -> str:
    """Every option of every command, in tables."""
    lines = [
        "# Options", "",
        "Made by `python -m factcli.recipe.generate` from the declarations in `factcli/recipe`. On the command line an "
        "option is spelled with hyphens, as a keyword of the Python function and as a key of a recipe with "
        "underscores. Keys of a recipe file are marked R, those of its section `training` T.", "",
    ]  # fmt: skip
    for command in COMMANDS:
        lines += [f"## factcli {command.name}", "", command.summary, ""]
        lines += ["```bash", *(f"factcli {example}" for example in command.examples), "```", ""]
        panels: dict[str, list[Declared]] = {}
        for one in command.options.values():
            panels.setdefault(one.panel, []).append(one)
        for panel, options in panels.items():
            lines += ([f"### {panel}", ""] if panel else []) + ["| option | recipe | |", "|---|---|---|"]
            lines += [_row(command, one) for one in options] + [""]
    return "\n".join(lines)


def _row(command: Command, one: Declared) -> str:
    group = command.owners[one.name]
    key = "R" if group is Recipe else "T" if group is Settings else ""
    names = [one.spelled, one.about.no, one.about.short] if one.about.only != "file" else [one.name]
    spelled = ", ".join(f"`{name}`" for name in names if name)
    return f"| {spelled} | {key} | {one.help.replace('|', '/')} |"


FILES = {STUB: stub, SCHEMA: schema, REFERENCE: reference}


def changed(files: Iterable[Path] = FILES) -> list[Path]:
    """Which of the files are not what the declarations make."""
    return [f for f in files if f.parent.is_dir() and (not f.is_file() or f.read_text("utf-8") != FILES[f]())]


if __name__ == "__main__":
    for file in changed():
        file.write_text(FILES[file](), encoding="utf-8")
