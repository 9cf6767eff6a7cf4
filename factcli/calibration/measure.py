"""From a source and a recipe to the metric of every target."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..compress.allocations import Gains, allocations
from ..compress.criteria import Criterion, criteria
from ..compress.norms import Metric
from ..compress.structures import Structure
from ..compress.structures.projection import gains
from ..errors import UsageError
from ..prediction import load_tokenizer
from ..recipe.old_recipe import Recipe
from ..source import Loaded, Source
from ..targets import Target, find_targets, matrix
from . import cache
from .data import CalibrationOptions, load_examples
from .drift import Drift
from .gather import Calibration, Progress, gather
from .losses import find_head
from .statistics import Kind


class Measured:
    """The metric of each target under one criterion; made when it is asked for, so that one is held at a time."""

    def __init__(self, criterion: Criterion, calibration: Calibration | None = None) -> None:
        self.criterion, self.calibration = criterion, calibration
        self.notes: list[str] = list(calibration.warnings) if calibration else []

    def metric(self, target: Target, weight: Tensor | None = None, drift: Drift | None = None) -> Metric:
        """The metric, float64; `weight` (m, n) is the matrix as it is. With a drift, for inputs that have drifted."""
        statistics = self.calibration.statistics[target.name] if self.calibration else None
        if statistics is not None and drift is not None:
            statistics = replace(statistics, mean=drift.after, covariance=drift.covariance)
        return self.criterion.metric(target, statistics, weight)

    def gains(self, model: PreTrainedModel, structure: Structure, blocks: int, device: torch.device) -> Gains:
        """What units of rank take off the error of targets of `model`; as a share of the error of leaving nothing where
        errors of different targets have no common unit."""
        base = model.base_model

        def of(target: Target) -> Tensor:
            w = matrix(base.get_submodule(target.name)).detach().to(device).double()
            found = gains(w, structure, blocks, self.metric(target, w)).cpu()
            total = found.sum()
            return found if self.criterion.comparable or not float(total) > 0 else found / total

        if not self.criterion.comparable:
            self.notes.append(
                f"Errors under {self.criterion.name} are not comparable between targets: each counts as a share of its "
                "target's own; kfac and fisher need no such assumption."
            )
        return of

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


def criterion_of(recipe: Recipe) -> Criterion:
    """The criterion of a recipe, with its options."""
    return criteria[recipe.criterion].variant(recipe.sparsity)


def needs_weights(recipe: Recipe) -> bool:
    """Whether planning looks at weights or data, not at shapes alone."""
    return allocations[recipe.allocation].needs_gains or bool(criteria[recipe.criterion].needs)


def options_of(recipe: Recipe, data_dir: str | Path | None = None) -> CalibrationOptions:
    """Raises UsageError where the recipe names no data."""
    if recipe.calibration is None:
        raise UsageError(
            f"--criterion {recipe.criterion} looks at data: give --calibration with a GLUE task, a file of texts, or a "
            "data set on the Hub."
        )
    return CalibrationOptions(
        recipe.calibration, recipe.calibration_samples, recipe.max_length, recipe.fisher, recipe.text_column,
        recipe.label_column, data_dir, recipe.seed, recipe.data_revision,
    )  # fmt: skip


def measure(
    source: Source,
    loaded: Loaded,
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Measured:
    """The metrics of a recipe's criterion for `loaded`, the model of `source`; calibrates where the criterion needs it,
    unless that was done before (see `cache`).

    Raises UsageError for a criterion that needs data without any, FactcliError for what `load_examples` and `gather`
    refuse.
    """
    criterion = criterion_of(recipe)
    if not criterion.needs:
        return Measured(criterion)
    return Measured(
        criterion,
        calibrate(
            source, loaded, options_of(recipe, data_dir), criterion.needs, recipe.include, recipe.exclude,
            device=device, progress=progress,
        ),
    )  # fmt: skip


def calibrate(
    source: Source,
    loaded: Loaded,
    options: CalibrationOptions,
    kinds: frozenset[Kind],
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    *,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Statistics of the model's targets, from the cache or from a pass over the data.

    Raises FactcliError as `load_examples` and `gather` do.
    """
    model = loaded.model
    prefix = f"{model.base_model_prefix}."
    headless = model is not model.base_model and any(not k.startswith(prefix) for k in loaded.absent)
    empirical = options.fisher == "empirical" and bool(kinds & {Kind.GRADIENTS, Kind.FISHER})
    tokenizer = load_tokenizer(source)
    labelled = empirical and type(model).__name__.endswith("ForSequenceClassification") and not headless
    examples = load_examples(options, tokenizer, source.config, labelled)
    targets = [t for t in find_targets(model.base_model, include, exclude) if t.kept is None]
    settings: Mapping[str, Any] = {
        "empirical": empirical, "headless": headless, "seed": options.seed, "targets": [t.name for t in targets],
    }  # fmt: skip
    key = cache.fingerprint(source, examples, kinds, dict(settings))
    calibration = cache.read(key)
    if calibration is None:
        calibration = gather(
            model, tokenizer, examples, targets, kinds, empirical=empirical, headless=headless, seed=options.seed,
            device=device, progress=progress,
        )  # fmt: skip
        cache.write(key, calibration)
    calibration.texts, calibration.tokenizer = examples, tokenizer
    if empirical and (headless or find_head(model).kind == "none"):
        calibration.warnings.append(
            f"{source.name} has no trained head, so --fisher empirical has no loss to take labels for: directions were "
            "sampled."
        )
    few = [t for t in targets if calibration.statistics[t.name].tokens < t.shape[1]]
    if few and Kind.INPUTS in kinds:
        calibration.warnings.append(
            f"{calibration.tokens} tokens are fewer than the features of {len(few)} targets (such as {few[0].name}, "
            f"{few[0].shape[1]}): statistics are shrunk; calibrate on more text."
        )
    return calibration
