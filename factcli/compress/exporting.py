"""A factorized model, written with its recipe and its card."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..card import story
from ..card.dense import trimmed_card
from ..card.provenance import calibrated_on, chosen_by, made_with, model_argument
from ..card.write import make_card
from ..files.outputs import Output
from ..models.export import auto_class, write_model
from ..models.loading import Loaded
from ..models.model import Model
from ..models.trained import read_trained
from ..recipe.factorizing import Recipe
from ..recipe.file import FILE_NAME, dump_recipe
from ..recipe.values import TASKS
from .factorize import Errors, factorize
from .measured import Measured
from .plan import Plan
from .planning import describe, describe_dense, load_for, saved_dtype, target_dtypes


def export_factorized(
    source: Model,
    recipe: Recipe,
    plan: Plan,
    place: Output,
    loaded: Loaded | None = None,
    measured: Measured | None = None,
    *,
    data_dir: str | Path | None = None,
    device: torch.device | None = None,
    then: Callable[[Path], None] | None = None,
) -> Errors:
    """Factorize the model of `source` by `plan` and write it to `place`, with its recipe and card. `loaded` is the
    model, if it has been loaded, `measured` has the metrics of a criterion that needs data. `then` is called with the
    directory of the whole model, before it appears under its name."""
    with place.new() as work:
        loaded = loaded or load_for(source, recipe)
        dtypes = target_dtypes(source.outline_in(saved_dtype(source, recipe)).model, plan)
        where = device or torch.device("cpu")
        errors = factorize(loaded.model, plan.factorized, recipe, where, measured, dtypes)
        steps = [*vocabulary_steps(source, recipe), story.factorized(source.provenance()["model"], recipe)]
        about = made_with(source, recipe, calibrated_on(recipe, data_dir) | chosen_by(recipe), steps)
        sizes = describe(source, recipe, plan)["bytes"]
        texts = {
            FILE_NAME: dump_recipe(recipe, about, trained=read_trained(source.path).to_dict()),
            "README.md": make_card(
                source, recipe, plan, auto_class(source, source.model_class), (sizes["before"], sizes["after"]), about,
                command_of(source, recipe, data_dir),
            ),
        }  # fmt: skip
        write_model(work, loaded, source, plan, texts, dtype=recipe.dtype)
        if then is not None:
            then(work)
    return errors


def export_dense(source: Model, recipe: Recipe, place: Output, then: Callable[[Path], None] | None = None) -> None:
    """Write the model of `source`, whose vocabulary is smaller and no matrix factorized, to `place`; the rest as for
    `export_factorized`."""
    with place.new() as work:
        steps = vocabulary_steps(source, recipe)
        about = made_with(source, recipe, chosen_by(recipe), steps)
        sizes = describe_dense(source, recipe)
        (before, after), (first, last) = (sizes[key].values() for key in ("parameters", "bytes"))
        card = trimmed_card(
            source, recipe, auto_class(source, source.model_class), ((before, after), (first, last)), about,
            command_of(source, recipe, None),
        )  # fmt: skip
        texts = {FILE_NAME: dump_recipe(recipe, about, trained=read_trained(source.path).to_dict()), "README.md": card}
        write_model(work, source.load(), source, None, texts, dtype=recipe.dtype)
        if then is not None:
            then(work)


def vocabulary_steps(source: Model, recipe: Recipe) -> list[str]:
    """The sentence on a vocabulary that was made smaller before anything else."""
    if source.origin is None:
        return []
    return [story.trimmed(source.provenance()["model"], recipe, source.origin.rows, source.rows)]


def command_of(source: Model, recipe: Recipe, data_dir: str | Path | None) -> list[str]:
    """What repeats a conversion, beside the recipe file that it wrote."""
    data = ["--data-dir", "GLUE"] if data_dir is not None and recipe.calibration in TASKS else []
    trust = ["--trust-remote-code"] if source.trusted else []
    return ["factcli", "convert", *model_argument(source), "-c", FILE_NAME, *data, *trust]
