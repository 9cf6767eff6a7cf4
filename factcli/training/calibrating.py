"""Criteria that look at data, in training: statistics of the model as it is then, over the task's training data."""

from collections.abc import Sequence
from typing import Any

import torch

from ..calibration.data import load_examples
from ..calibration.gather import gather
from ..calibration.losses import Example
from ..calibration.measure import options_of
from ..calibration.statistics import Kind
from ..compress.criteria import criteria
from ..compress.measured import Measured
from ..compress.plan import Layer
from ..models.loading import Loaded
from ..models.purpose import HIDDEN, chosen_purpose, untrained_head
from ..models.targets import Target, find_targets
from .job import Job


def measured_now(
    job: Job, model: torch.nn.Module, device: torch.device, layers: Sequence[Layer] | None, new_head: bool
) -> Measured | None:
    """The norms of the job's criterion for `layers` (None: every target) of `model`; None where it needs no data.

    The texts are a sample of the training data, unless the recipe names others. `new_head` says that the head was
    never trained: then it is left out, as its gradients would be noise.
    """
    assert job.recipe is not None
    criterion = criteria[job.recipe.criterion].made(job.recipe)
    if not criterion.needs:
        return None
    if layers is None:
        targets = [t for t in find_targets(_base(model), job.recipe.include, job.recipe.exclude) if t.kept is None]
    else:
        targets = [Target(layer.name, layer.shape, layer.bias) for layer in layers]
    empirical = job.recipe.fisher == "empirical" and bool(criterion.needs & {Kind.GRADIENTS, Kind.FISHER})
    backward = bool(criterion.needs & {Kind.GRADIENTS, Kind.FISHER})
    asked = job.recipe.objective or (HIDDEN if new_head else None)
    purpose = chosen_purpose(job.source, asked, Loaded(model)) if backward else None  # type: ignore[arg-type]
    calibration = gather(
        model, job.tokenizer, _examples(job, empirical and not new_head), targets, criterion.needs,  # type: ignore[arg-type]
        empirical=empirical and not new_head, purpose=purpose, seed=job.recipe.seed, device=device,
    )  # fmt: skip
    return Measured(criterion, calibration)


def has_new_head(job: Job, loaded: Loaded) -> bool:
    """True where the head of a loaded model is random: it was absent in the source, or is being replaced."""
    return not job.keep_head or untrained_head(loaded)


def _examples(job: Job, labelled: bool) -> list[Example]:
    recipe = job.recipe
    assert recipe is not None
    if recipe.calibration is not None:
        read = labelled and not job.task.tagging  # whose loss of labels is refused
        return load_examples(options_of(recipe, job.data_dir), job.fit, job.source.config, read)
    generator = torch.Generator().manual_seed(recipe.seed)
    labelled = labelled and not (job.settings.text_to_text or job.task.tagging)
    drawn = sorted(torch.randperm(len(job.train), generator=generator)[: recipe.calibration_samples].tolist())
    return [
        Example(
            tuple(job.train[i]["input_ids"]),
            tuple(job.train[i]["token_type_ids"]) if "token_type_ids" in job.train[i] else None,
            _label(job.train[i]["labels"]) if labelled else None,
        )
        for i in drawn
        if job.train[i]["input_ids"]
    ]


def _label(value: Any) -> float | tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else float(value)


def _base(model: torch.nn.Module) -> torch.nn.Module:
    base = model.base_model
    assert isinstance(base, torch.nn.Module)
    return base
