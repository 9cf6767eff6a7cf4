"""Recipe files: what an export keeps of how it was made, and what a command is told to repeat."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FactcliError, UsageError
from ..files.written import RECIPE
from ..notes import note
from .effects import of_recipes
from .factorizing import Recipe
from .fields import given
from .reading import load_file, read_keys, resolve
from .rules import Values, refuse_idle

FILE_NAME = RECIPE
TRAINED = "trained_on"  # its section with what models/trained.py keeps
SECTIONS = ("made_with", "training", TRAINED)  # of an export's recipe file, not part of the recipe


def read_recipe(path: str | Path | None) -> dict[str, Any]:
    """The values of a recipe file, without its sections; none without a file.

    Raises FactcliError for a file that cannot be read, UsageError for what is wrong in it.
    """
    if path is None:
        return {}
    return read_keys(Recipe, {k: v for k, v in load_file(path).items() if k not in SECTIONS}, f"The recipe {path}")


def make_recipe(config: str | Path | None, flags: Values, data_dir: str | Path | None = None) -> Recipe:
    """Flags (None: not given) over the file `config` over defaults; a budget given as a flag replaces the file's.

    `data_dir`, which is in no recipe, is that of the command. Raises UsageError for a value that cannot be read and for
    an option without effect, FactcliError for a file that cannot be read.
    """
    file = read_recipe(config)
    recipe = resolve(Recipe, flags, file)
    asked = given({**flags, "data_dir": data_dir})
    refuse_idle(of_recipes(), vars(recipe) | {"data_dir": data_dir}, asked, str(config), file)
    return recipe


def recorded_recipe(path: Path) -> Recipe:
    """The recipe that an export was made with."""
    return resolve(Recipe, {}, read_recipe(path))


def source_of_recipe(path: str | Path | None, revision: str | None = None) -> str:
    """The model on the Hub that an export's recipe was made with, as `id@commit`.

    Raises UsageError without a recipe and for a `revision` beside it, FactcliError for a recipe that names none.
    """
    if path is None:
        raise UsageError("Give MODEL, a directory or Hub id.")
    if revision is not None:
        raise UsageError("--revision has no effect without MODEL: leave it out, or give MODEL.")
    read_recipe(path)
    made = load_file(path).get("made_with") or {}
    if not isinstance(made, dict) or not made.get("revision"):
        said = f"the local directory {made['model']}" if isinstance(made, dict) and made.get("model") else "no model"
        raise FactcliError(f"The recipe {path} was made with {said}: give MODEL.")
    return f"{made['model']}@{made['revision']}"


def note_training(path: str | Path | None) -> None:
    """Say that a command that does not train leaves a recipe's section `training` aside."""
    if path is not None and load_file(path).get("training"):
        note(f"The section 'training' of the recipe {path} is for 'factcli finetune': nothing is trained here.")


def dump_recipe(
    recipe: Recipe | None,
    made_with: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    trained: Mapping[str, Any] | None = None,
    dtype: str | None = None,
) -> str:
    """The file saved in an export: the resolved recipe (None: nothing was factorized), in what precision it was saved
    if that was asked for, how it was trained, what the model or the one it was made from was `trained` on, and where it
    was applied."""
    import yaml

    values = (recipe.to_dict() if recipe else {}) | ({"dtype": dtype} if dtype else {})
    values |= ({"training": dict(training)} if training else {}) | ({TRAINED: dict(trained)} if trained else {})
    return yaml.safe_dump(values | {"made_with": dict(made_with)}, sort_keys=False, allow_unicode=True)
