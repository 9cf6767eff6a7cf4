"""A conversion step by step: the plan, the model that it makes, the files of that; again where a file is too large."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..compress.exporting import export_dense, export_factorized
from ..compress.factorize import Errors
from ..compress.file_size import MEGABYTE, FileSize, file_size
from ..compress.measured import Measured, measure, needs_weights
from ..compress.plan import Plan
from ..compress.planning import check_feasible, describe, describe_dense, load_for, plan_for
from ..files.outputs import Output
from ..models.loading import Loaded
from ..models.model import Model
from ..notes import note
from ..recipe.factorizing import Recipe
from ..runtimes.make import Written
from ..runtimes.shipping import Shipment


@dataclass(frozen=True)
class Planned:
    """A model and its norms, where planning looked at them, and its plan, where there is anything to factorize."""

    loaded: Loaded | None = None
    measured: Measured | None = None
    plan: Plan | None = None

    def described(self, source: Model, recipe: Recipe) -> dict[str, Any]:
        """Sizes and plan; of a model with a smaller vocabulary alone there is no plan."""
        if self.plan is None:
            return describe_dense(source, recipe)
        return describe(source, recipe, self.plan) | (_about(self.measured) if self.measured else {})


@dataclass(frozen=True)
class Conversion:
    """What is made of a source, and in which files."""

    recipe: Recipe
    shipment: Shipment | None
    data_dir: str | Path | None
    device: torch.device

    def size(self, source: Model) -> FileSize | None:
        """What --max-mb counts: the largest of the files for runtimes, or the weights."""
        if self.recipe.max_mb is None:
            return None
        shipped = (self.shipment.how.format, self.shipment.how.precision[0]) if self.shipment else ()
        return file_size(source, self.recipe, *shipped)

    def planned(self, source: Model, size: FileSize | None = None, known: Measured | None = None) -> Planned:
        """The plan; a budget of megabytes is that of a file of this `size`, if that is known better by now. `known` are
        the norms, where another budget has been planned before."""
        recipe, size = self.recipe, size or self.size(source)
        if not recipe.factorizes:
            return Planned()
        loaded = measured = None
        if needs_weights(recipe):
            check_feasible(source, recipe, size)
            loaded = load_for(source, recipe)
            measured = known or measure(source, loaded, recipe, data_dir=self.data_dir, device=self.device)
        return Planned(loaded, measured, plan_for(source, recipe, loaded, measured, self.device, size))

    def written(self, source: Model, planned: Planned, place: Output) -> tuple[Planned, Errors | None, list[Written]]:
        """Write the model; again, and smaller, where a file turns out larger than --max-mb. The last plan, its errors,
        and the files for runtimes."""
        size = self.size(source)
        while True:
            files: list[Written] = []
            ship = partial(self._ship, place, source.trusted, files)
            try:
                if planned.plan is None:
                    export_dense(source, self.recipe, place, then=ship)
                    return planned, None, files
                errors = export_factorized(
                    source, self.recipe, planned.plan, place, planned.loaded, planned.measured,
                    data_dir=self.data_dir, device=self.device, then=ship,
                )  # fmt: skip
                return planned, errors, files
            except _TooLarge as found:
                assert size is not None
                assert planned.plan is not None
                note(f"{found.name} came to {found.bytes / MEGABYTE:.2f} MB, above --max-mb: made again, smaller.")
                size = size.corrected(planned.plan.targets_after, found.bytes)
                planned = self.planned(source, size)

    def _ship(self, place: Output, trusted: bool, files: list[Written], work: Path) -> None:
        """Write the files for runtimes, if any are asked for, beside the whole model in `work`. Raises _TooLarge."""
        files.extend(self.shipment.write(work, place, trusted) if self.shipment else ())
        weights = sum(file.stat().st_size for file in work.glob("*.safetensors"))
        for name, size in [(file.path, file.bytes) for file in files] or [("The file of weights", weights)]:
            if self.recipe.max_mb is not None and size > self.recipe.max_mb * MEGABYTE:
                raise _TooLarge(name, size)


class _TooLarge(Exception):
    """A file that is larger than it may be, with its bytes."""

    def __init__(self, name: str, bytes: int) -> None:
        super().__init__(name)
        self.name, self.bytes = name, bytes


def _about(measured: Measured) -> dict[str, Any]:
    """What the result says about the data and the norms."""
    calibration = measured.to_json()
    return ({"calibration": calibration} if calibration else {}) | ({"notes": measured.notes} if measured.notes else {})
