"""A factorized model, written with its recipe and its card."""

from collections.abc import Callable
from pathlib import Path

import torch

from ..card import story
from ..card.provenance import calibrated_on, made_with, model_argument
from ..card.write import make_card
from ..files.outputs import Output
from ..models.export import auto_class, write_model
from ..models.loading import Loaded
from ..models.model import Model
from ..models.trained import read_trained
from ..recipe.factorizing import Recipe
from ..recipe.file import FILE_NAME, dump_recipe
from ..recipe.values import TASKS
from .factorize import Errors, Progress, factorize
from .measured import Measured
from .plan import Plan
from .planning import describe, load_for, saved_dtype, target_dtypes


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
    progress: Progress | None = None,
    then: Callable[[Path], None] | None = None,
) -> Errors:
    """Factorize the model of `source` by `plan` and write it to `place`, with its recipe and card. `loaded` is the
    model, if it has been loaded, `measured` has the metrics of a criterion that needs data. `then` is called with the
    directory of the whole model, before it appears under its name."""
    with place.new() as work:
        loaded = loaded or load_for(source, recipe)
        dtypes = target_dtypes(source.outline_in(saved_dtype(source, recipe)).model, plan)
        where = device or torch.device("cpu")
        errors = factorize(loaded.model, plan.factorized, recipe, where, progress, measured, dtypes)
        steps = [story.factorized(source.provenance()["model"], recipe)]
        about = made_with(source, recipe, calibrated_on(recipe, data_dir), steps)
        sizes = describe(source, recipe, plan)["bytes"]
        texts = {
            FILE_NAME: dump_recipe(recipe, about, trained=read_trained(source.path).to_dict()),
            "README.md": make_card(
                source, recipe, plan, auto_class(source, source.model_class), (sizes["before"], sizes["after"]), about,
                _command(source, recipe, data_dir),
            ),
        }  # fmt: skip
        write_model(work, loaded, source, plan, texts, dtype=recipe.dtype)
        if then is not None:
            then(work)
    return errors


def _command(source: Model, recipe: Recipe, data_dir: str | Path | None) -> list[str]:
    """What repeats a conversion, beside the recipe file that it wrote."""
    data = ["--data-dir", "GLUE"] if data_dir is not None and recipe.calibration in TASKS else []
    trust = ["--trust-remote-code"] if source.trusted else []
    return ["factcli", "convert", *model_argument(source), "-c", FILE_NAME, *data, *trust]
