"""From a source and its data to the statistics of every target."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..files.caches import making
from ..models.embeddings import token_embedding
from ..models.fit import find_fit
from ..models.loading import Loaded
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN, chosen_purpose, untrained_head
from ..models.targets import find_targets
from ..recipe.factorizing import Examined, Recipe
from . import cache
from .data import CalibrationOptions, count_tokens, load_examples
from .gather import Calibration, gather, of_every_length
from .statistics import Kind

ENOUGH = 32768  # tokens, for moments of inputs and gradients: of more the accuracy is the same within noise


def options_of(recipe: Recipe | Examined, data_dir: str | Path | None = None) -> CalibrationOptions:
    """Raises UsageError where the recipe names no data."""
    if recipe.calibration is None:
        criterion = f"--criterion {recipe.criterion}" if isinstance(recipe, Recipe) else "A criterion"
        raise UsageError(
            f"{criterion} looks at data: give --calibration with a GLUE task, a file of texts, or a data set on the "
            "Hub."
        )
    return CalibrationOptions(
        recipe.calibration, recipe.calibration_samples, recipe.max_length, recipe.fisher, recipe.text_column,
        recipe.label_column, data_dir, recipe.seed, recipe.data_revision, recipe.objective,
    )  # fmt: skip


def calibrate(
    source: Model,
    loaded: Loaded,
    options: CalibrationOptions,
    kinds: frozenset[Kind],
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    embeddings: bool = False,
    *,
    device: torch.device | None = None,
) -> Calibration:
    """Statistics of the model's targets, from the cache or from a pass over the data.

    Raises FactcliError as `load_examples` and `gather` do.
    """
    model = loaded.model
    headless = untrained_head(loaded)
    backward = bool(kinds & {Kind.GRADIENTS, Kind.FISHER})
    purpose = chosen_purpose(source, options.objective, loaded) if backward else None
    empirical = options.fisher == "empirical" and backward
    tokenizer = source.tokenizer
    labelled = empirical and type(model).__name__.endswith("ForSequenceClassification") and not headless
    fit = find_fit(model, tokenizer, source.name)
    drawn = load_examples(options, fit, source.config, labelled)
    examples = drawn if Kind.FISHER in kinds else of_every_length(drawn, ENOUGH)
    embedding = token_embedding(loaded) if embeddings else None
    targets = [t for t in find_targets(model.base_model, include, exclude, embedding) if t.kept is None]
    counts = next((count_tokens(options, fit, source.config, t.shape[1]) for t in targets if t.embedding), None)
    settings: Mapping[str, Any] = {
        "empirical": empirical, "purpose": str(purpose), "seed": options.seed, "targets": [t.name for t in targets],
        "counts": None if counts is None else counts.long().tolist(),
    }  # fmt: skip
    key = cache.fingerprint(source, examples, kinds, dict(settings))
    calibration = cache.read(key)
    if calibration is None:
        with making(cache.KIND, key):
            calibration = cache.read(key)  # another process may have made it meanwhile
            if calibration is None:
                calibration = gather(
                    model, tokenizer, examples, targets, kinds, empirical=empirical, purpose=purpose,
                    seed=options.seed, device=device, counts=counts,
                )  # fmt: skip
                cache.write(key, calibration)
    calibration.texts, calibration.tokenizer = examples, tokenizer
    if len(examples) < len(drawn):
        calibration.warnings.append(
            f"Of {len(drawn)} texts {len(examples)} were calibrated on, of every length alike: their "
            f"{calibration.tokens} tokens are enough."
        )
    if purpose is not None and purpose.kind == EMBEDDING:
        calibration.warnings.append(f"{source.name} {purpose}: what an error does to these vectors is what it counts.")
    if empirical and purpose is not None and purpose.kind in (EMBEDDING, HIDDEN):
        calibration.warnings.append(
            f"{source.name} has no trained head, so --fisher empirical has no loss to take labels for: directions were "
            "sampled."
        )
    few = [t for t in targets if not t.embedding and calibration.statistics[t.name].tokens < t.shape[1]]
    if few and Kind.INPUTS in kinds:
        calibration.warnings.append(
            f"{calibration.tokens} tokens are fewer than the features of {len(few)} targets (such as {few[0].name}, "
            f"{few[0].shape[1]}): statistics are shrunk; calibrate on more text."
        )
    return calibration
