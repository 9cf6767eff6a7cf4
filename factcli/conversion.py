"""convert: a dense model in, a factorized export out."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from . import __version__
from .card import make_card
from .checkpoint import auto_class, check_output, new_directory, write_export
from .criteria import criteria
from .errors import FactcliError, UsageError
from .plan import Layer, Plan, format_count, make_plan
from .recipe import FILE_NAME, Recipe, dump_recipe, make_recipe
from .source import Source, count_parameters, find_source, load_meta, load_model
from .structures import structures
from .structures.projection import project
from .targets import find_targets, matrix

Progress = Callable[[int, int, str], None]


def convert(
    model: str,
    output: str | Path | None = None,
    *,
    config: str | Path | None = None,
    method: str | None = None,
    params: str | int | None = None,
    keep: float | None = None,
    rank: int | None = None,
    blocks: int | None = None,
    force_rank: bool = False,
    criterion: str | None = None,
    allocation: str | None = None,
    include: tuple[str, ...] | list[str] = (),
    exclude: tuple[str, ...] | list[str] = (),
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str | None = None,
    device: str = "auto",
    seed: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Factorize `model` (a directory or Hub id) under a budget and save the result to `output`.

    Args:
        config: A recipe file; arguments given here win over it.
        params, keep, rank: The budget, exactly one: parameters of the whole model after ("44M"), fraction of the
            targets' parameters kept, or the rank of every target.
        dry_run: Plan from config.json alone; nothing is loaded or written.
        progress: Called with (done, total, name) after each target.

    Returns:
        The result object of the command's --json: plan, totals and, unless `dry_run`, output, seconds and error (the
        relative Frobenius error over all targets, the square root of the summed squares).

    Raises:
        UsageError: Options that do not fit together.
        FactcliError: Anything else that a user can put right.
    """
    started = time.perf_counter()
    recipe = make_recipe(
        config,
        {
            "method": method, "params": params, "keep": keep, "rank": rank, "blocks": blocks,
            "force_rank": force_rank, "criterion": criterion, "allocation": allocation,
            "include": tuple(include), "exclude": tuple(exclude), "dtype": dtype, "seed": seed,
        },
    )  # fmt: skip
    recipe.budget  # refused here if it is not exactly one
    structures[recipe.method]
    criteria[recipe.criterion]
    if not dry_run and output is not None:
        check_output(Path(output), overwrite)
    source = find_source(model, revision, trust_remote_code, weights=not dry_run)
    plan = plan_for(source, recipe)
    result = describe(source, recipe, plan)
    if dry_run:
        return result
    target_device = pick_device(device)
    folder = Path(output) if output is not None else Path(default_output(source, recipe, plan))
    with new_directory(folder, overwrite) as work:
        loaded = load_model(source)
        error = factorize(loaded.model, plan.factorized, recipe, target_device, progress)
        sizes = (result["bytes"]["before"], result["bytes"]["after"])
        texts = {
            FILE_NAME: dump_recipe(recipe, made_with(source)),
            "README.md": make_card(source, recipe, plan, auto_class(source, source.model_class), sizes),
        }
        write_export(work, loaded, source, plan, texts, dtype=recipe.dtype)
    return result | {
        "output": str(folder),
        "seconds": round(time.perf_counter() - started, 2),
        "error": error,
        "pushed": None,
    }


def plan_for(source: Source, recipe: Recipe) -> Plan:
    """The plan of a recipe for a source, from its configuration alone."""
    meta = load_meta(source)
    targets = find_targets(meta.base_model, recipe.include, recipe.exclude)
    return make_plan(
        targets, count_parameters(meta), structures[recipe.method], recipe.blocks, recipe.budget,
        recipe.allocation, recipe.force_rank,
    )  # fmt: skip


def made_with(source: Source) -> dict[str, Any]:
    """Provenance for the recipe file: source, commit, versions."""
    versions = {"factcli": __version__, "torch": torch.__version__.partition("+")[0]}
    return source.provenance() | versions | {"transformers": transformers.__version__}


def describe(source: Source, recipe: Recipe, plan: Plan) -> dict[str, Any]:
    """The plan as the JSON of `convert --dry-run`."""
    before = plan.parameters_before * _itemsize(source.dtype)
    after = plan.parameters_after * _itemsize(recipe.dtype or source.dtype)
    return {
        "model": source.name,
        "method": recipe.method,
        "criterion": recipe.criterion,
        "allocation": recipe.allocation,
        **plan.totals(),
        "bytes": {"before": before, "after": after},
        "layers": [layer.to_json() for layer in plan.layers],
    }


def _itemsize(dtype: str) -> int:
    return int(getattr(torch, dtype, torch.float32).itemsize)


@torch.no_grad()
def factorize(
    model: nn.Module, layers: Sequence[Layer], recipe: Recipe, device: torch.device, progress: Progress | None = None
) -> float:
    """Swap, in place, the targets `layers` (all that a plan factorizes, or the ones of a stage of training).

    One matrix at a time is held in float64. Returns the relative Frobenius error of them all.
    """
    base = model.base_model
    metric = criteria[recipe.criterion].metric()
    structure = structures[recipe.method]
    lost = total = 0.0
    for done, layer in enumerate(layers, 1):
        assert layer.rank is not None
        parent, _, leaf = layer.name.rpartition(".")
        owner = base.get_submodule(parent)
        module = getattr(owner, leaf)
        weight = matrix(module)
        w = weight.to(device)
        factors = project(w.double(), structure, layer.rank, layer.blocks or 1, metric)
        difference = structure.dense(factors.float()).sub_(w)
        lost += float(torch.linalg.vector_norm(difference)) ** 2
        total += float(torch.linalg.vector_norm(w.float())) ** 2
        swapped = structure.module(layer.to_json(), factors, module.bias, weight.dtype, weight.device)
        setattr(owner, leaf, swapped.train(module.training))
        if progress:
            progress(done, len(layers), layer.name)
    return (lost / total) ** 0.5


def pick_device(device: str) -> torch.device:
    """auto, cpu, cuda, cuda:1, mps -> a device that is there. Raises FactcliError or UsageError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"--device {device!r} is unknown: take auto, cpu, cuda, cuda:0 or mps.") from error
    if chosen.type == "mps":
        return torch.device("cpu")  # factorization needs float64
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise FactcliError(f"--device {device} is not there: take --device cpu.")
    return chosen


def default_output(source: Source, recipe: Recipe, plan: Plan) -> str:
    """`<name>-<method>-<size>`, without dots, which some loaders cannot take."""
    name = source.provenance()["model"].split("/")[-1]
    return f"{name}-{recipe.method}-{format_count(plan.parameters_after)}".replace(".", "_")
