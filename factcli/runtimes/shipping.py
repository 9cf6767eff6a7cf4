"""Files for runtimes in one go with the conversion that makes the model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..card.runtimes import record
from ..files.outputs import Output
from ..models.model import find_model
from ..recipe.commands import Asked
from ..recipe.factorizing import Recipe
from ..recipe.file import make_recipe, read_recipe
from ..recipe.registry import criteria
from ..recipe.rules import without_effect
from ..recipe.running import Data, Exporting, Shipping
from .make import Written, fit_of, refuse_without_data, write_files
from .rows import read_rows

_TEXTS = ("calibration", "text_column", "max_length", "data_revision")  # of recipes, and of int8


@dataclass(frozen=True)
class Shipment:
    """Files to write beside a model that is made, and the texts to calibrate them on."""

    how: Exporting
    texts: Data

    def write(self, work: Path, place: Output, trusted: bool) -> list[Written]:
        """Write them into the directory `work` of a whole model, which is on its way to `place`."""
        source = replace(find_model(str(work), None, trusted, accept_factorized=True), name=str(place.shown))
        loaded = source.load(torch.float32)
        fit = fit_of(source, loaded)
        rows = read_rows(self.how, self.texts, fit, source.config, None)
        files = write_files(source, loaded, fit, self.how, rows, work)
        record(work, [file.to_recipe() for file in files])
        return files


def read_shipping(asked: Asked, data_dir: str | Path | None) -> tuple[Recipe, Shipment | None]:
    """The recipe, and which files are to be written beside the model, None being none.

    The texts to calibrate on are those of the recipe; where its criterion looks at none they are for int8 alone. Raises
    UsageError for options that do not go together.
    """
    flags, given = asked.flags(Recipe), asked.flags(Shipping)
    config = asked.values.get("config")
    how = asked.of(Shipping)
    if not how.format:
        if given:
            raise without_effect(f"--{next(iter(given)).replace('_', '-')}", "without --format", "give --format")
        return make_recipe(config, flags, data_dir), None
    texts: dict[str, Any] = {k: v for k, v in (read_recipe(config) | flags).items() if k in _TEXTS}
    criterion = flags.get("criterion") or read_recipe(config).get("criterion") or Recipe().criterion
    if how.precision == "int8" and not criteria[criterion].reads_data():
        shared = {"text_column"} if "vocabulary" in flags else set()
        flags = {k: v for k, v in flags.items() if k not in _TEXTS or k in shared}
        recipe = make_recipe(config, flags)
    else:
        recipe = make_recipe(config, flags, data_dir)
    shipped = Exporting(
        format=how.format, precision=(how.precision,), opset=how.opset, calibration=texts.pop("calibration", None)
    )
    refuse_without_data(shipped, labelled=False)
    return recipe, Shipment(shipped, Data(**texts, data_dir=data_dir))
