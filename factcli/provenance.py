"""Where an export came from: source and data with their commits, versions, command line, a hash of the recipe."""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from . import __version__
from .recipe.old_recipe import Recipe
from .source import Source

_TOKEN = re.compile(r"hf_[A-Za-z0-9]{8,}")


def made_with(source: Source, recipe: Recipe | None, data: str | None = None) -> dict[str, Any]:
    """The section `made_with` of the recipe file. `data` is the data set (`id@commit`) that was calibrated or trained
    on, where it came from the Hub."""
    digest = {"recipe_sha256": recipe_hash(recipe)} if recipe else {}
    command = command_line(sys.argv)
    return (
        source.provenance()
        | ({"data": data} if data else {})
        | digest
        | ({"command": command} if command else {})
        | versions()
    )


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    torch_version = torch.__version__.partition("+")[0]
    return {"factcli": __version__, "torch": torch_version, "transformers": transformers.__version__}


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of what the recipe says, in hexadecimal."""
    return hashlib.sha256(json.dumps(recipe.to_dict(), sort_keys=True).encode()).hexdigest()


def command_line(arguments: list[str]) -> str | None:
    """The command as it was given, without directories of this machine and without tokens; None outside of the
    command line."""
    program, *rest = arguments or [""]
    path = Path(program)
    if path.name not in ("factcli", "factcli.exe") and path.parent.name != "factcli":  # -m factcli: …/__main__.py
        return None
    return " ".join(["factcli", *(_shown(a) for a in rest)])


def _shown(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    if value.startswith((".", "/", "~")) or (":" in value[:3] and "\\" in value):
        value = re.split(r"[/\\]", value.rstrip("/\\"))[-1] or value
    value = f"'{value}'" if re.search(r"[\s|*()$]", value) else value
    return f"{option}{equals}{_TOKEN.sub('***', value)}"
