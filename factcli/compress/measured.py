"""From what calibration gathered to the norm of every target, and what units of a structure are worth in it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..calibration.drift import Drift
from ..calibration.gather import Calibration
from ..calibration.measure import calibrate, options_of
from ..calibration.statistics import Statistics
from ..models.loading import Loaded
from ..models.model import Model
from ..models.targets import Target, matrix
from ..recipe.factorizing import Recipe
from .allocations import Gains, allocations
from .criteria import Criterion, Evidence, criteria
from .groups import Group
from .norms import Norm
from .structures import Embedding, Structure
from .structures.embedding import by_frequency, part


class Measured:
    """The norm of each target under one criterion; made when it is asked for, so that one is held at a time."""

    def __init__(self, criterion: Criterion, calibration: Calibration | None = None) -> None:
        self.criterion, self.calibration = criterion, calibration
        self.notes: list[str] = list(calibration.warnings) if calibration else []
        self._gains: dict[tuple[str, int], Tensor] = {}  # by target, and where a group of its tokens starts

    def norm(self, target: Target, weight: Tensor | None = None, drift: Drift | None = None) -> Norm:
        """The norm, float64; `weight` (m, n) is the matrix as it is. With a drift, for inputs that have drifted."""
        statistics = self.calibration.statistics[target.name] if self.calibration else Statistics(0)
        if drift is not None:
            statistics = replace(statistics, mean=drift.after, covariance=drift.covariance)
        return self.criterion.norm(Evidence(target, statistics, weight))

    def gains(self, model: PreTrainedModel, structure: Structure, device: torch.device) -> Gains:
        """What units of rank take off the error of targets of `model`, found once for all budgets; as a share of the
        error of leaving nothing where errors of different targets have no common unit."""
        base = model.base_model

        def of(target: Target) -> Tensor:
            key = target.name, target.start if isinstance(target, Group) else 0
            if key not in self._gains:
                self._gains[key] = measured(target)
            return self._gains[key]

        def measured(target: Target) -> Tensor:
            if isinstance(target, Group):
                found = self._gains_of_group(base, target, device)
            else:
                w = matrix(base.get_submodule(target.name)).detach().to(device).double()
                found = structure.gains(w, self.norm(target, w)).cpu()
            total = found.sum()
            return found if self.criterion.comparable or not float(total) > 0 else found / total

        if not self.criterion.comparable:
            known = " and ".join(name for name in reversed(list(criteria)) if criteria[name].comparable)
            self.notes.append(
                f"Errors under {self.criterion.name} are not comparable between targets: each counts as a share of its "
                f"target's own; {known} need no such assumption."
            )
        return of

    def _gains_of_group(self, base: nn.Module, group: Group, device: torch.device) -> Tensor:
        assert group.whole is not None
        w, norm = matrix(base.get_submodule(group.whole.name)).detach(), self.norm(group.whole)
        tokens = by_frequency(norm, w)[group.start : group.start + group.shape[1]]
        return Embedding().gains(w[:, tokens].to(device), part(norm, tokens)).cpu()

    def to_json(self) -> dict[str, Any] | None:
        """What the calibration was and took, for --json; None where the criterion needs none."""
        c = self.calibration
        if c is None:
            return None
        return {
            "examples": c.examples,
            "tokens": c.tokens,
            "seconds": round(c.seconds, 2),
            "cached": c.cached,
            "bytes": c.bytes,
        }


def needs_weights(recipe: Recipe) -> bool:
    """Whether planning looks at weights or data, not at shapes alone."""
    return allocations[recipe.allocation].needs_gains or bool(criteria[recipe.criterion].needs)


def measure(
    source: Model,
    loaded: Loaded,
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    device: torch.device | None = None,
) -> Measured:
    """The norms of a recipe's criterion for `loaded`, the model of `source`; calibrates where the criterion needs it,
    unless that was done before (see `calibration/cache`).

    Raises UsageError for a criterion that needs data without any, FactcliError for what `calibrate` refuses.
    """
    criterion = criteria[recipe.criterion].made(recipe)
    if not criterion.needs:
        return Measured(criterion)
    return Measured(
        criterion,
        calibrate(
            source, loaded, options_of(recipe, data_dir), criterion.needs, recipe.include, recipe.exclude,
            recipe.factorizes_embeddings, device=device,
        ),
    )  # fmt: skip
