"""convert: a dense model in, a factorized export out."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..calibration.data import hub_data
from ..calibration.gather import Progress
from ..calibration.measure import options_of
from ..compress.exporting import export_dense, export_factorized
from ..compress.file_size import MEGABYTE, FileSize, file_size
from ..compress.measured import Measured, measure, needs_weights
from ..compress.plan import Plan
from ..compress.planning import check_feasible, describe, describe_dense, load_for, plan_for
from ..files.outputs import Output, inputs
from ..models.devices import pick_device
from ..models.loading import Loaded
from ..models.model import Model, find_model
from ..notes import note
from ..publishing.publish import Publishing
from ..recipe import running
from ..recipe.commands import CONVERT, Asked, answers
from ..recipe.effects import PUBLISHING
from ..recipe.factorizing import Recipe
from ..recipe.file import note_training, source_of_recipe
from ..recipe.registry import criteria
from ..recipe.rules import refuse_idle
from ..recipe.values import format_count
from ..runtimes.make import Written
from ..runtimes.shipping import Shipment, read_shipping
from ..vocabulary.trimming import trimmed
from .unchanged import unchanged


@answers(CONVERT)
@unchanged()
def convert(asked: Asked) -> dict[str, Any]:
    """Factorize a model (a directory or Hub id) under a budget and save the result to `output`; with `vocabulary` the
    tokens that texts do not use go first, and without a budget nothing else does.

    `progress` is called with (done, total, name) after each target. With `dry_run` it plans only, and writes nothing;
    from config.json alone where neither criterion nor allocation look at weights.

    Returns:
        The result object of the command's --json: plan, totals and, unless `dry_run`, output, seconds and error (the
        relative Frobenius error over all targets, the square root of the summed squares). A criterion that needs data
        adds `calibration` (examples, tokens, seconds, cached, bytes) and `metric_error`, the same error in its own
        norm; `notes` are sentences for the user. With `format`, `runtimes` are the files that `export` would have
        written; with `vocabulary`, `vocabulary` is what `vocabulary.trimming.Trim` says.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right.
    """
    started = time.perf_counter()
    making, hub, origin = asked.of(running.Making), asked.of(running.Publishing), asked.of(running.Source)
    data_dir, dry_run = asked.of(running.DataDir).data_dir, asked.of(running.DryRun).dry_run
    progress = asked.called.get("progress")
    refuse_idle(PUBLISHING, vars(hub), asked.flags(running.Publishing))
    recipe, shipment = read_shipping(asked, data_dir)
    note_training(making.config)
    if recipe.factorizes:
        _ = recipe.budget  # refused here if it is not exactly one
    data = hub_data(options_of(recipe, data_dir)) if criteria[recipe.criterion].needs else None
    if data is not None:
        recipe = recipe.but(data_revision=data[1])
    model, revision = making.model, origin.revision
    if model is None:
        model, revision = source_of_recipe(making.config, revision), None
    read = inputs(("the source", model), ("--data-dir", data_dir), ("--calibration", recipe.calibration),
                  ("--vocabulary", recipe.vocabulary), ("the recipe", making.config))  # fmt: skip
    with ExitStack() as held:
        place: Output | None = None
        files: list[Written] = []
        if not dry_run and making.output is not None:
            place = Output(making.output, making.overwrite, read)
            held.enter_context(place.held())
        publishing = Publishing.asked(hub.push_to_hub and not dry_run, hub.hub_model_id, hub.private, making.output)
        whole = not dry_run or needs_weights(recipe) or recipe.vocabulary is not None
        source = find_model(model, revision, origin.trust_remote_code, weights=whole)
        if not dry_run or source.repo_id is None:
            taken = source.files
            for sentence in () if dry_run else taken.notes():
                note(sentence)
        smaller: dict[str, Any] = {}
        if recipe.vocabulary is not None:
            source, trim = held.enter_context(trimmed(source, recipe, place))
            smaller = {"vocabulary": trim.to_json()}
        device = pick_device(asked.of(running.Device).device)
        size, errors = _size(source, recipe, shipment), None
        while True:
            loaded, measured, plan = _planned(source, recipe, data_dir, device, progress, size)
            result = _described(source, recipe, plan, measured) | smaller
            if dry_run:
                if source.weights is None:
                    note(
                        f"Sizes are those of config.json: the weights of {source.name} are not here, and may hold more."
                    )
                return result
            place = place or Output(default_output(source, recipe, result), making.overwrite, read)
            ship = partial(_ship, shipment, place, source.trusted, files, recipe.max_mb)
            try:
                if plan is None:
                    export_dense(source, recipe, place, then=ship)
                else:
                    errors = export_factorized(
                        source, recipe, plan, place, loaded, measured, data_dir=data_dir, device=device,
                        progress=progress, then=ship,
                    )  # fmt: skip
                break
            except _TooLarge as found:
                assert size is not None
                assert plan is not None
                note(f"{found.name} came to {found.bytes / MEGABYTE:.2f} MB, above --max-mb: made again, smaller.")
                size = size.corrected(plan.targets_after, found.bytes)
                files.clear()
    pushed = publishing.publish(place.given) if publishing else None
    return result | {
        "output": str(place.given),
        "seconds": round(time.perf_counter() - started, 2),
        "error": errors.frobenius if errors else None,
        **({"metric_error": errors.own} if errors and measured and measured.calibration else {}),
        **({"runtimes": [file.to_json() for file in files]} if shipment else {}),
        "pushed": pushed,
    }


def _planned(
    source: Model,
    recipe: Recipe,
    data_dir: str | Path | None,
    device: torch.device,
    progress: Progress | None,
    size: FileSize | None,
) -> tuple[Loaded | None, Measured | None, Plan | None]:
    """The model and its norms, where planning looks at them, and the plan, where there is anything to factorize."""
    if not recipe.factorizes:
        return None, None, None
    loaded = measured = None
    if needs_weights(recipe):
        check_feasible(source, recipe, size)
        loaded = load_for(source, recipe)
        measured = measure(source, loaded, recipe, data_dir=data_dir, device=device, progress=progress)
    return loaded, measured, plan_for(source, recipe, loaded, measured, device, size)


def _described(source: Model, recipe: Recipe, plan: Plan | None, measured: Measured | None) -> dict[str, Any]:
    """Sizes and plan; of a model with a smaller vocabulary alone there is no plan."""
    if plan is None:
        return describe_dense(source, recipe)
    return describe(source, recipe, plan) | (_about(measured) if measured else {})


class _TooLarge(Exception):
    """A file that is larger than it may be, with its bytes."""

    def __init__(self, name: str, bytes: int) -> None:
        super().__init__(name)
        self.name, self.bytes = name, bytes


def _size(source: Model, recipe: Recipe, shipment: Shipment | None) -> FileSize | None:
    """What --max-mb counts: the largest of the files for runtimes, or the weights."""
    if recipe.max_mb is None:
        return None
    return file_size(source, recipe, *((shipment.how.format, shipment.how.precision) if shipment else ()))


def _ship(
    shipment: Shipment | None, place: Output, trusted: bool, files: list[Written], most: float | None, work: Path
) -> None:
    """Write the files for runtimes, if any are asked for, beside the whole model in `work`. Raises _TooLarge for what
    has more than `most` megabytes."""
    files.extend(shipment.write(work, place, trusted) if shipment else ())
    weights = [(file.name, file.stat().st_size) for file in work.glob("*.safetensors")]
    for name, size in [(file.path, file.bytes) for file in files] or [("the weights", sum(b for _, b in weights))]:
        if most is not None and size > most * MEGABYTE:
            raise _TooLarge(name, size)


def _about(measured: Measured) -> dict[str, Any]:
    """What the result says about the data and the norms."""
    calibration = measured.to_json()
    return ({"calibration": calibration} if calibration else {}) | ({"notes": measured.notes} if measured.notes else {})


def default_output(source: Model, recipe: Recipe, result: dict[str, Any]) -> str:
    """`<name>-<method>-<size>`, without dots, which some loaders cannot take."""
    name = source.provenance()["model"].split("/")[-1]
    what = recipe.method if recipe.factorizes else "vocabulary"
    return f"{name}-{what}-{format_count(result['parameters']['after'])}".replace(".", "_")
