"""convert: a dense model in, a factorized export out."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from . import story
from .calibration.data import hub_data
from .calibration.measure import options_of
from .card.write import make_card
from .checkpoint import auto_class, look_at_files, write_model
from .compress.allocations import allocations
from .compress.criteria import criteria
from .compress.factorize import Errors, Progress, factorize
from .compress.measured import Measured, measure, needs_weights
from .compress.plan import Plan, format_count, make_plan
from .compress.structures import structures
from .compress.structures.elementwise import solvers
from .data.tasks import GLUE
from .errors import FactcliError, UsageError
from .hub.publish import Publishing
from .models.trained import read_trained
from .notes import note
from .options import PUBLISHING, check_values, given, refuse_idle
from .outputs import Output, inputs
from .provenance import calibrated_on, made_with, model_argument
from .recipe.old_recipe import FILE_NAME, Recipe, dump_recipe, make_recipe, note_training, source_of_recipe
from .source import Loaded, Source, find_source, load_model
from .targets import find_targets
from .unchanged import unchanged


@unchanged()
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
    force_rank: bool | None = None,
    criterion: str | None = None,
    solver: str | None = None,
    sparsity: str | None = None,
    compensation: str | None = None,
    allocation: str | None = None,
    rank_multiple: int | None = None,
    calibration: str | None = None,
    calibration_samples: int | None = None,
    data_revision: str | None = None,
    max_length: int | None = None,
    fisher: str | None = None,
    text_column: Sequence[str] | None = None,
    label_column: str | None = None,
    data_dir: str | Path | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
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
        solver: For criteria without a closed form (fisher): "cg" or "adam-sgd".
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
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right.
    """
    check_values(asked := dict(locals()))
    refuse_idle(PUBLISHING, asked, given(asked))
    started = time.perf_counter()
    recipe = make_recipe(
        config,
        {
            "method": method, "params": params, "keep": keep, "rank": rank, "blocks": blocks,
            "force_rank": force_rank, "criterion": criterion, "solver": solver, "sparsity": sparsity,
            "compensation": compensation, "allocation": allocation,
            "rank_multiple": rank_multiple, "calibration": calibration, "calibration_samples": calibration_samples,
            "data_revision": data_revision,
            "max_length": max_length, "fisher": fisher, "text_column": text_column,
            "label_column": label_column, "include": include, "exclude": exclude, "dtype": dtype, "seed": seed,
        },
        data_dir,
    )  # fmt: skip
    note_training(config)
    _ = recipe.budget  # refused here if it is not exactly one
    solvers[recipe.solver]
    looks = needs_weights(recipe)
    data = hub_data(options_of(recipe, data_dir)) if criteria[recipe.criterion].needs else None
    if data is not None:
        recipe = replace(recipe, data_revision=data[1])
    if model is None:
        model, revision = source_of_recipe(config, revision), None
    read = inputs(
        ("the source", model), ("--data-dir", data_dir), ("--calibration", recipe.calibration), ("the recipe", config)
    )
    with ExitStack() as held:
        place = None
        if not dry_run and output is not None:
            place = Output(output, overwrite, read)
            held.enter_context(place.held())
        publishing = Publishing.asked(push_to_hub and not dry_run, hub_model_id, private, output)
        source = find_source(model, revision, trust_remote_code, weights=looks or not dry_run)
        if not dry_run or source.repo_id is None:
            taken = look_at_files(source)
            for sentence in () if dry_run else taken.notes():
                note(sentence)
        target_device = pick_device(device)
        loaded = measured = None
        if looks:
            check_feasible(source, recipe)
            loaded = load_for(source, recipe)
            measured = measure(source, loaded, recipe, data_dir=data_dir, device=target_device, progress=progress)
        plan = plan_for(source, recipe, loaded, measured, target_device)
        result = describe(source, recipe, plan) | (_about(measured) if measured else {})
        if dry_run:
            if source.weights is None:
                note(f"Sizes are those of config.json: the weights of {source.name} are not here, and may hold more.")
            return result
        place = place or Output(default_output(source, recipe, plan), overwrite, read)
        errors = export_factorized(
            source, recipe, plan, place, loaded, measured, data_dir=data_dir, device=target_device, progress=progress
        )
    pushed = publishing.publish(place.given) if publishing else None
    return result | {
        "output": str(place.given),
        "seconds": round(time.perf_counter() - started, 2),
        "error": errors.frobenius,
        **({"metric_error": errors.own} if measured and measured.calibration else {}),
        "pushed": pushed,
    }


def export_factorized(
    source: Source,
    recipe: Recipe,
    plan: Plan,
    place: Output,
    loaded: Loaded | None = None,
    measured: Measured | None = None,
    *,
    data_dir: str | Path | None = None,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> Errors:
    """Factorize the model of `source` by `plan` and write it to `place`, with its recipe and card. `loaded` is the
    model, if it has been loaded, `measured` has the metrics of a criterion that needs data."""
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
    return errors


def _command(source: Source, recipe: Recipe, data_dir: str | Path | None) -> list[str]:
    """What repeats a conversion, beside the recipe file that it wrote."""
    data = ["--data-dir", "GLUE"] if data_dir is not None and recipe.calibration in list(GLUE) else []
    return ["factcli", "convert", *model_argument(source), "-c", FILE_NAME, *data]


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
    meta = source.outline
    targets = find_targets(meta.model.base_model, recipe.include, recipe.exclude)
    parameters = sum(t.numel() for t in (meta.written() | meta.extra).values())
    structure, allocation = structures[recipe.method].made(recipe), allocations[recipe.allocation].made(recipe)
    gains = None
    if allocation.needs_gains:
        assert loaded is not None
        assert measured is not None
        gains = measured.gains(loaded.model, structure, device or torch.device("cpu"))
    plan = make_plan(
        targets, parameters, structure, recipe.budget, allocation, recipe.force_rank, recipe.rank_multiple, gains
    )
    if source.weights is None:
        return plan
    return replace(plan, parameters_before=source.weights.parameters, rest=parameters - plan.targets_before)


def check_feasible(source: Source, recipe: Recipe) -> None:
    """Refuses, before anything is measured or trained, targets, blocks and budgets that no allocation can meet."""
    plain = next(name for name in allocations if not allocations[name].needs_gains)
    plan_for(source, replace(recipe, allocation=plain, rank_multiple=1))


def describe(source: Source, recipe: Recipe, plan: Plan) -> dict[str, Any]:
    """The plan as the JSON of `convert --dry-run`."""
    meta = source.outline_in(saved_dtype(source, recipe))
    before, after = (sum(t.nbytes for t in found.written().values()) for found in (source.outline, meta))
    dtypes = target_dtypes(meta.model, plan)
    for layer in plan.layers:
        m, n = layer.shape
        after += (layer.parameters - m * n) * dtypes[layer.name].itemsize
    after += sum(structures[layer.structure].made(recipe).index_bytes(layer.shape) for layer in plan.factorized)
    if source.weights is not None:
        before = source.weights.bytes
        after += sum(source.weights.tensors[name].bytes for name in meta.extra)
    return {
        "model": source.name,
        "method": recipe.method,
        "criterion": recipe.criterion,
        "allocation": recipe.allocation,
        **plan.totals(),
        "bytes": {"before": before, "after": after},
        "layers": [layer.shown() for layer in plan.layers],
    }


def saved_dtype(source: Source, recipe: Recipe) -> torch.dtype:
    """The precision of the result: what the recipe says, else the source's."""
    found: torch.dtype = getattr(torch, recipe.dtype or source.dtype)
    return found


def target_dtypes(model: PreTrainedModel, plan: Plan) -> dict[str, torch.dtype]:
    """The type of every target in `model`, by the target's name."""
    base: Any = model.base_model
    return {layer.name: base.get_submodule(layer.name).weight.dtype for layer in plan.layers}


def load_for(source: Source, recipe: Recipe) -> Loaded:
    """The model to factorize, in a precision that loses nothing of the source and holds the result."""
    wider = torch.promote_types(getattr(torch, source.dtype), saved_dtype(source, recipe))
    return load_model(source, dtype=wider)


def pick_device(device: str) -> torch.device:
    """auto, cpu, cuda, cuda:1, mps -> a device that is there. Raises FactcliError or UsageError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = None
    if (
        chosen is None
        or chosen.type not in ("cpu", "cuda", "mps")
        or (chosen.index is not None and chosen.type == "cpu")
    ):
        raise UsageError(f"--device {device!r} is unknown: take auto, cpu, cuda, cuda:0 or mps.")
    if chosen.type == "mps":
        note("--device mps: this runs on the CPU, because Apple's GPUs have no float64.")
        return torch.device("cpu")
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise FactcliError(f"--device {device} is not there: take --device cpu.")
    return chosen


def default_output(source: Source, recipe: Recipe, plan: Plan) -> str:
    """`<name>-<method>-<size>`, without dots, which some loaders cannot take."""
    name = source.provenance()["model"].split("/")[-1]
    return f"{name}-{recipe.method}-{format_count(plan.parameters_after)}".replace(".", "_")
