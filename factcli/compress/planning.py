"""The plan of a recipe for a model, and what is said of it."""

from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedModel

from ..models.embeddings import check_lookups
from ..models.loading import Loaded, load_model
from ..models.model import Model
from ..models.parts import bytes_by_part, compared
from ..models.purpose import described_purpose
from ..recipe.factorizing import Recipe
from ..recipe.registry import allocations, criteria, structures
from .file_size import FileSize, file_size
from .measured import Measured
from .plan import Plan, make_plan


def plan_for(
    source: Model,
    recipe: Recipe,
    loaded: Loaded | None = None,
    measured: Measured | None = None,
    device: torch.device | None = None,
    size: FileSize | None = None,
) -> Plan:
    """The plan of a recipe for a source, from its configuration alone unless the allocation looks at the weights: then
    with them in `loaded` and their norms `measured`. A budget of megabytes is that of a file of this `size` (None: the
    weights)."""
    meta = source.outline
    targets = source.targets(recipe.include, recipe.exclude, recipe.factorizes_embeddings)
    parameters = sum(t.numel() for t in (meta.written() | meta.extra).values())
    structure, allocation = structures[recipe.method].made(recipe), allocations[recipe.allocation].made(recipe)
    gains = None
    if allocation.needs_gains:
        assert loaded is not None
        assert measured is not None
        gains = measured.gains(loaded.model, structure, device or torch.device("cpu"))
    plan = make_plan(
        targets, parameters, structure, recipe.budget, allocation, recipe.force_rank, recipe.rank_multiple, gains,
        gains is not None and criteria[recipe.criterion].reads_inputs(),
        size or (None if recipe.max_mb is None else file_size(source, recipe)),
    )  # fmt: skip
    if source.weights is None:
        return plan
    return replace(plan, parameters_before=whole(source).stored.parameters, rest=parameters - plan.targets_before)


def whole(source: Model) -> Model:
    """The model as it came, with all of its vocabulary."""
    return source.origin or source


def check_feasible(source: Model, recipe: Recipe, size: FileSize | None = None) -> None:
    """Refuses, before anything is measured or trained, targets, blocks and budgets that no allocation can meet."""
    plain = next(name for name in allocations if not allocations[name].needs_gains)
    plan_for(source, recipe.but(allocation=plain, rank_multiple=1), size=size)


def describe(source: Model, recipe: Recipe, plan: Plan) -> dict[str, Any]:
    """The plan as the JSON of `convert --dry-run`."""
    meta = source.outline_in(saved_dtype(source, recipe))
    base = meta.model.base_model_prefix
    after = {name: tensor.nbytes for name, tensor in (meta.written() | meta.extra).items()}
    if source.weights is not None:
        after |= {name: source.weights.tensors[name].bytes for name in meta.extra}
    dtypes = target_dtypes(meta.model, plan)
    for layer in plan.layers:
        name = next(n for n in (f"{base}.{layer.name}.weight", f"{layer.name}.weight") if n in after)
        after[name] += (layer.parameters - layer.shape[0] * layer.shape[1]) * dtypes[layer.name].itemsize
        if layer.structure != "dense":
            after[name] += structures[layer.structure].made(recipe).index_bytes(layer.shape)
    before = bytes_before(source)
    return {
        "model": source.name,
        "purpose": described_purpose(source),
        "method": recipe.method,
        "criterion": recipe.criterion,
        "allocation": recipe.allocation,
        **plan.totals(),
        "bytes": {"before": sum(before.values()), "after": sum(after.values())},
        "parts": compared(bytes_by_part(before, base), bytes_by_part(after, base)),
        "layers": [layer.shown() for layer in plan.layers],
    }


def describe_dense(source: Model, recipe: Recipe) -> dict[str, Any]:
    """The same where no matrix is factorized and only the vocabulary is smaller."""
    meta = source.outline_in(saved_dtype(source, recipe))
    state, base = meta.written() | meta.extra, meta.model.base_model_prefix
    targets = sum(target.size for target in source.targets())
    return {
        "model": source.name,
        "purpose": described_purpose(source),
        **dict.fromkeys(("method", "criterion", "allocation")),
        "parameters": {"before": whole(source).stored.parameters, "after": sum(t.numel() for t in state.values())},
        "targets": {"before": targets, "after": targets},
        "bytes": {"before": whole(source).stored.bytes, "after": sum(t.nbytes for t in state.values())},
        "parts": compared(
            bytes_by_part(bytes_before(source), base), bytes_by_part({n: t.nbytes for n, t in state.items()}, base)
        ),
        "layers": [],
    }


def bytes_before(source: Model) -> dict[str, int]:
    """The bytes of every tensor that a model has before anything is done to it, its vocabulary included."""
    if source.weights is None:
        return {name: tensor.nbytes for name, tensor in source.outline.written().items()}
    return {name: stored.bytes for name, stored in whole(source).stored.tensors.items()}


def saved_dtype(source: Model, recipe: Recipe) -> torch.dtype:
    """The precision of the result: what the recipe says, else the source's."""
    found: torch.dtype = getattr(torch, recipe.dtype or source.dtype)
    return found


def target_dtypes(model: PreTrainedModel, plan: Plan) -> dict[str, torch.dtype]:
    """The type of every target in `model`, by the target's name."""
    base: Any = model.base_model
    return {layer.name: base.get_submodule(layer.name).weight.dtype for layer in plan.layers}


def load_for(source: Model, recipe: Recipe) -> Loaded:
    """The model to factorize, in a precision that loses nothing of the source and holds the result."""
    wider = torch.promote_types(getattr(torch, source.dtype), saved_dtype(source, recipe))
    loaded = load_model(source, dtype=wider)
    if recipe.factorizes_embeddings:
        check_lookups(source.name, loaded.model)
    return loaded
