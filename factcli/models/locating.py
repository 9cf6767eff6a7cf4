"""Where a model is, and its config.json as written."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from transformers.configuration_utils import get_configuration_file

from ..errors import FactcliError, UsageError, one_line
from ..files.atomic import recover_missing
from ..hub.download import Read, fetch
from ..recipe.rules import without_effect
from . import carried


def locate(
    name: str, revision: str | None = None, weights: bool = True, trusted: bool = False
) -> tuple[Path, str | None, str | None]:
    """The directory of MODEL, fetched where it is a Hub id; the id and the commit where it is.

    Of a repository comes config.json alone, or with `weights` all that makes up the model, with code of its own where
    it is `trusted`. Raises FactcliError where there is none, UsageError for a revision of a directory.
    """
    path = Path(name).expanduser()
    recover_missing(path)
    if path.is_dir():
        if revision is not None:
            raise without_effect("--revision", f"with {name}, a directory", "give a Hub id")
        return path, None, None
    if name.startswith((".", "/", "~")) or path.exists():
        raise FactcliError(f"{name} is not a directory: give one that holds config.json, or a Hub id.")
    repo_id, _, at = name.partition("@")
    if at and revision is not None and at != revision:
        raise UsageError(f"{name} names a revision, and --revision {revision} another one: leave one of them out.")

    def wanted(names: Collection[str], read: Read) -> set[str]:
        found = carried.survey(repo_id, names, read, trusted)
        return carried.parts(found, names, read) | {carried.ADAPTER}  # which says whether the weights are whole

    path, commit = fetch(repo_id, at or revision, wanted if weights else None)
    return path, repo_id, commit


def native_type(raw: dict[str, Any]) -> str:
    """transformers' own model type in a config.json, also of a factorized model."""
    return str(raw.get("model_type", "")).removeprefix("factorized_")


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a model directory, or the file for this version of transformers that it names instead.

    Raises FactcliError where there is none that can be read.
    """
    file = path / "config.json"
    raw = _read_object(file)
    versions = raw.get("configuration_files")
    other = get_configuration_file([str(v) for v in versions]) if isinstance(versions, list) else file.name
    return raw if other == file.name else _read_object(path / other)


def _read_object(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FactcliError(_no_config(file)) from error
    except (OSError, ValueError) as error:
        raise FactcliError(f"{file} cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(raw, dict):
        raise FactcliError(f"{file} is not a JSON object.")
    return raw


def _no_config(file: Path) -> str:
    found = sorted(file.parent.glob("*/config.json"))
    inner = [p.parent.name for p in found if '"model_type"' in p.read_text(encoding="utf-8", errors="replace")]
    if inner and (file.parent / "modules.json").is_file():
        return (
            f"{file.parent} has no {file.name}, as its modules lie in directories of their own: convert that of a "
            f"transformer ({', '.join(inner)}), put the export in its place and its two Python files at the top."
        )
    return f"{file.parent} has no {file.name}: give a directory saved by save_pretrained."
