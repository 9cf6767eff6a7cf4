"""convert: a dense model in, a factorized export out."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .calibration.data import hub_data
from .calibration.measure import options_of
from .card.write import make_card
from .checkpoint import auto_class, write_export
from .compress.allocations import allocations
from .compress.criteria import criteria
from .compress.factorize import Progress, factorize
from .compress.measured import Measured, measure, needs_weights
from .compress.plan import Plan, format_count, make_plan
from .compress.structures import structures
from .directory import check_output, new_directory
from .errors import FactcliError, UsageError
from .hub.publish import Publishing
from .provenance import made_with
from .recipe.old_recipe import FILE_NAME, Recipe, dump_recipe, make_recipe, source_of_recipe
from .source import Loaded, Source, count_parameters, find_source, load_meta, load_model
from .targets import find_targets


def convert(
    model: str | None = None,
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
    sparsity: str | None = None,
    compensation: str | None = None,
    allocation: str | None = None,
    rank_multiple: int | None = None,
    calibration: str | None = None,
    calibration_samples: int | None = None,
    data_revision: str | None = None,
    max_length: int | None = None,
    fisher: str | None = None,
    text_column: tuple[str, ...] | list[str] = (),
    label_column: str | None = None,
    data_dir: str | Path | None = None,
    include: tuple[str, ...] | list[str] = (),
    exclude: tuple[str, ...] | list[str] = (),
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str | None = None,
    device: str = "auto",
    seed: int | None = None,
    overwrite: bool = False,
    push_to_hub: bool = False,
    hub_model_id: str | None = None,
    private: bool | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Factorize `model` (a directory or Hub id) under a budget and save the result to `output`.

    Args:
        model: Without it, the one on the Hub that the recipe `config` was made with, at the same commit.
        config: A recipe file; arguments given here win over it.
        params, keep, rank: The budget, exactly one: parameters of the whole model after ("44M"), fraction of the
            targets' parameters kept, or the rank of every target.
        calibration: What a criterion that looks at data reads: a GLUE task (its files below `data_dir`, or from the
            Hub), a file, or a data set on the Hub, at `data_revision`. `calibration_samples` rows of its training split
            are used.
        sparsity: How the criterion of that name weighs: "l0", "l1", "l2" or "entries".
        compensation: "sequential" fits every matrix to the inputs that the factorized ones before it give (the default
            of criteria that weigh inputs), "none" to those of the dense model.
        fisher: "sampled" from the model's own predictions, or "empirical", from the labels.
        push_to_hub: Publish the result as `hub_model_id` (see `factcli.push`); whether that is allowed is asked before
            anything else.
        dry_run: Plan only, and write nothing; from config.json alone where neither criterion nor allocation look at
            weights.
        progress: Called with (done, total, name) after each target.

    Returns:
        The result object of the command's --json: plan, totals and, unless `dry_run`, output, seconds and error (the
        relative Frobenius error over all targets, the square root of the summed squares). A criterion that needs data
        adds `calibration` (examples, tokens, seconds, cached, bytes) and `metric_error`, the same error in its own
        norm; `notes` are sentences for the user.

    Raises:
        UsageError: Options that do not fit together.
        FactcliError: Anything else that a user can put right.
    """
    started = time.perf_counter()
    recipe = make_recipe(
        config,
        {
            "method": method, "params": params, "keep": keep, "rank": rank, "blocks": blocks,
            "force_rank": force_rank, "criterion": criterion, "sparsity": sparsity,
            "compensation": compensation, "allocation": allocation,
            "rank_multiple": rank_multiple, "calibration": calibration, "calibration_samples": calibration_samples,
            "data_revision": data_revision,
            "max_length": max_length, "fisher": fisher, "text_column": tuple(text_column),
            "label_column": label_column, "include": tuple(include), "exclude": tuple(exclude), "dtype": dtype,
            "seed": seed,
        },
    )  # fmt: skip
    _ = recipe.budget  # refused here if it is not exactly one
    looks = needs_weights(recipe)
    data = hub_data(options_of(recipe, data_dir)) if criteria[recipe.criterion].needs else None
    if data is not None:
        recipe = replace(recipe, data_revision=data[1])
    if not dry_run and output is not None:
        check_output(Path(output), overwrite)
    if model is None:
        model, revision = source_of_recipe(config), None
    publishing = Publishing.asked(push_to_hub and not dry_run, hub_model_id, private, output)
    source = find_source(model, revision, trust_remote_code, weights=looks or not dry_run)
    target_device = pick_device(device)
    loaded = measured = None
    if looks:
        check_feasible(source, recipe)
        loaded = load_model(source)
        measured = measure(source, loaded, recipe, data_dir=data_dir, device=target_device, progress=progress)
    plan = plan_for(source, recipe, loaded, measured, target_device)
    result = describe(source, recipe, plan) | (_about(measured) if measured else {})
    if dry_run:
        return result
    folder = Path(output) if output is not None else Path(default_output(source, recipe, plan))
    with new_directory(folder, overwrite) as work:
        loaded = loaded or load_model(source)
        errors = factorize(loaded.model, plan.factorized, recipe, target_device, progress, measured)
        sizes = (result["bytes"]["before"], result["bytes"]["after"])
        about = made_with(source, recipe, "@".join(filter(None, data)) if data else None)
        texts = {
            FILE_NAME: dump_recipe(recipe, about),
            "README.md": make_card(source, recipe, plan, auto_class(source, source.model_class), sizes, about),
        }
        write_export(work, loaded, source, plan, texts, dtype=recipe.dtype)
    pushed = publishing.publish(folder) if publishing else None
    return result | {
        "output": str(folder),
        "seconds": round(time.perf_counter() - started, 2),
        "error": errors.frobenius,
        **({"metric_error": errors.own} if measured and measured.calibration else {}),
        "pushed": pushed,
    }


def _about(measured: Measured) -> dict[str, Any]:
    """What the result says about the data and the norms."""
    calibration = measured.to_json()
    return ({"calibration": calibration} if calibration else {}) | ({"notes": measured.notes} if measured.notes else {})


def plan_for(
    source: Source,
    recipe: Recipe,
    loaded: Loaded | None = None,
    measured: Measured | None = None,
    device: torch.device | None = None,
) -> Plan:
    """The plan of a recipe for a source, from its configuration alone unless the allocation looks at the weights: then
    with them in `loaded` and their norms `measured`."""
    meta = load_meta(source)
    targets = find_targets(meta.base_model, recipe.include, recipe.exclude)
    structure, allocation = structures[recipe.method].made(recipe), allocations[recipe.allocation].made(recipe)
    gains = None
    if allocation.needs_gains:
        assert loaded is not None
        assert measured is not None
        gains = measured.gains(loaded.model, structure, device or torch.device("cpu"))
    return make_plan(
        targets, count_parameters(meta), structure, recipe.budget, allocation, recipe.force_rank, recipe.rank_multiple,
        gains,
    )  # fmt: skip


def check_feasible(source: Source, recipe: Recipe) -> None:
    """Refuses, before anything is measured or trained, targets, blocks and budgets that no allocation can meet."""
    plain = next(name for name in allocations if not allocations[name].needs_gains)
    plan_for(source, replace(recipe, allocation=plain, rank_multiple=1))


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
        "layers": [layer.shown() for layer in plan.layers],
    }


def _itemsize(dtype: str) -> int:
    return int(getattr(torch, dtype, torch.float32).itemsize)


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
