"""Where an export came from: source and data with their commits, versions, command line, a hash of the recipe."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from .. import __version__
from ..data.tasks import GLUE, HUB_ID, Task, split_files
from ..errors import FactcliError
from ..files.digests import digest_of_files
from ..models.model import Model
from ..recipe.commands import COMMANDS
from ..recipe.effects import is_file
from ..recipe.factorizing import Recipe
from ..recipe.file import FILE_NAME
from ..recipe.reading import load_file

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?(:[\w.-]+)?", re.ASCII)


def made_with(
    source: Model, recipe: Recipe | None, data: dict[str, str] | None = None, steps: Iterable[str] = ()
) -> dict[str, Any]:
    """The section `made_with` of the recipe file. `data` says what was calibrated or trained on, `steps` in sentences
    what was done to the source, after what was done to make it."""
    digest = {"recipe_sha256": recipe_hash(recipe)} if recipe else {}
    command = command_line(sys.argv)
    done = [*earlier_steps(source), *steps]
    return (
        source.provenance()
        | (data or {})
        | digest
        | ({"command": command} if command else {})
        | versions()
        | ({"steps": done} if done else {})
    )


def calibrated_on(recipe: Recipe, data_dir: str | Path | None) -> dict[str, str]:
    """The entries of `made_with` for the data of a recipe whose criterion looks at some."""
    name = recipe.calibration
    if name is None:
        return {}
    if is_file(name):
        file = Path(name).expanduser()
        return {"data": file.name, "data_sha256": digest_of_files([file])}
    if name in list(GLUE) and data_dir is not None:
        files = split_files(GLUE[name], "train", data_dir)
        return {"data": f"{name}/train", "data_sha256": digest_of_files(files)}
    return {"data": "@".join(filter(None, (HUB_ID if name in list(GLUE) else name, recipe.data_revision)))}


def chosen_by(recipe: Recipe) -> dict[str, str]:
    """The entries of `made_with` for the texts that say which tokens stay."""
    if recipe.vocabulary is None:
        return {}
    file = Path(recipe.vocabulary).expanduser()
    return {"vocabulary": file.name, "vocabulary_sha256": digest_of_files([file])}


def trained_on(task: Task, data_dir: str | Path | None, commit: str | None) -> dict[str, str]:
    """The entries of `made_with` for the data of a task, at `commit` of the Hub where it is not in files."""
    if not task.files and data_dir is None:
        return {"data": "@".join(filter(None, (HUB_ID, commit)))}
    found: dict[str, str] = {}
    for key, split in (("train", "train"), ("validation", task.validation)):
        files = [task.paths[split]] if task.files else split_files(task, split, data_dir or ".")
        name = files[0].name if task.files else f"{task.folder or task.name}/{split}"
        found |= {key: name, f"{key}_sha256": digest_of_files(files)}
    return found


def earlier_steps(source: Model) -> list[str]:
    """What the recipe file of a source that factcli made says of how it was made; none of any other source."""
    file = source.path / FILE_NAME
    try:
        made = load_file(file).get("made_with") if file.is_file() else None
    except FactcliError:
        return []
    found = made.get("steps") if isinstance(made, dict) else None
    steps = [s for s in found if isinstance(s, str)] if isinstance(found, list) else []
    return [" ".join(step.split())[:400].replace("<!--", "") for step in steps[:20]]  # it goes into a card


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    torch_version = torch.__version__.partition("+")[0]
    return {"factcli": __version__, "torch": torch_version, "transformers": transformers.__version__}


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of what the recipe says, in hexadecimal."""
    return hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()


def model_argument(source: Model) -> list[str]:
    """The argument MODEL of a command that repeats something: none where the recipe file names one on the Hub."""
    return [] if source.repo_id and source.revision else ["MODEL"]


def command_line(arguments: list[str]) -> str | None:
    """The command as it was given, for a shell, without directories of this machine and without tokens; None outside of
    the command line."""
    program, *rest = arguments or [""]
    path = Path(program)
    if path.name not in ("factcli", "factcli.exe") and path.parent.name != "factcli":  # -m factcli: …/__main__.py
        return None
    shown, option = [], ""
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and equals:
            shown.append(f"{name}={_shown(name, value)}")
        elif argument[:2] in ("-o", "-c") and len(argument) > 2 and argument[1] != "-":
            shown.append(argument[:2] + _shown(argument[:2], argument[2:].removeprefix("=")))
        else:
            shown.append(argument if argument.startswith("-") else _shown(option, argument))
        option = "-" + argument[-1] if re.fullmatch("-[a-z]+", argument) else argument
    return without_tokens(shlex.join(["factcli", *shown]))


def without_tokens(text: str) -> str:
    """`text` without anything that looks like an access token."""
    token = os.environ.get("HF_TOKEN")
    return _TOKEN.sub("***", text.replace(token, "***") if token else text)


def _flags(kind: str) -> set[str]:
    """The flags of options whose values are always paths, or never ("words")."""
    every = [one for command in COMMANDS for one in command.options.values()]
    found = [one for one in every if (Path in one.kinds if kind == "paths" else one.about.words)]
    return {flag for one in found for flag in (one.flag, one.about.short) if flag}


def _shown(option: str, value: str) -> str:
    """The value of an option ("": an argument): of a path the last part, a Hub id as it is."""
    if option in _flags("words") or not re.search(r"[/\\~]", value):
        return value
    if option not in _flags("paths") and _HUB_ID.fullmatch(value) and value[0] != "." and not Path(value).exists():
        return value
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1].removeprefix("~") or "."
