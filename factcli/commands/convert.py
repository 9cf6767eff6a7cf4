"""convert: a dense model in, a factorized export out."""

import time
from contextlib import ExitStack
from typing import Any

from ..calibration.data import hub_data
from ..calibration.measure import options_of
from ..compress.measured import needs_weights
from ..files.outputs import Output, inputs
from ..models.devices import pick_device
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
from ..runtimes.shipping import read_shipping
from ..searching.goal import read_goal
from ..searching.stopwatch import Until
from ..vocabulary.trimming import trimmed
from .converting import Conversion
from .searching import searched
from .shares import Made
from .unchanged import unchanged


@answers(CONVERT)
@unchanged()
def convert(asked: Asked) -> dict[str, Any]:
    """Factorize a model (a directory or Hub id) under a budget and save the result to `output`; with `vocabulary` the
    tokens that texts do not use go first, and without a budget nothing else does.

    `progress` is called with (done, total, step): see `progress.py`. With `dry_run` it plans only, and writes nothing;
    from config.json alone where neither criterion nor allocation look at weights.

    Returns:
        The result object of --json, with plan, totals and, unless `dry_run`, output, seconds and error (the
        relative Frobenius error over all targets, the square root of the summed squares). A criterion that needs data
        adds `calibration` (examples, tokens, seconds, cached, bytes) and `metric_error`, the same error in its own
        norm; `notes` are sentences for the user. With `format`, `runtimes` are the files that `export` would have
        written; with `vocabulary`, `vocabulary` is what `vocabulary.trimming.Trim` says; with `max_loss`, `search` is
        what `commands.searching.searched` says.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right.
    """
    started = time.perf_counter()
    goal, asked = read_goal(asked)
    making, hub, origin = asked.of(running.Making), asked.of(running.Publishing), asked.of(running.Source)
    data_dir, dry_run = asked.of(running.DataDir).data_dir, asked.of(running.DryRun).dry_run
    refuse_idle(PUBLISHING, vars(hub), asked.flags(running.Publishing))
    recipe, shipment = read_shipping(asked, data_dir)
    note_training(making.config)
    if recipe.factorizes:
        _ = recipe.budget  # refused here if it is not exactly one
    data = hub_data(options_of(recipe, data_dir)) if criteria[recipe.criterion].needs else None
    if data is not None:
        recipe = recipe.but(data_revision=data[1] or recipe.data_revision)  # as asked, where the Hub does not say
    model, revision = making.model, origin.revision
    if model is None:
        model, revision = source_of_recipe(making.config, revision), None
    read = inputs(("the source", model), ("--data-dir", data_dir), ("--calibration", recipe.calibration),
                  ("--vocabulary", recipe.vocabulary), ("the recipe", making.config))  # fmt: skip
    with ExitStack() as held:
        place: Output | None = None
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
        how = Conversion(recipe, shipment, data_dir, pick_device(asked.of(running.Device).device))
        if goal is not None:
            if place is None:
                place = Output(_named(source, recipe, goal.first), making.overwrite, read)
                held.enter_context(place.held())
            found = held.enter_context(searched(how, source, goal, place, Until(goal.seconds, started)))
            recipe, made = found.how.recipe, found.made
            smaller["search"] = found.search
            place.take(made.place.path)
        else:
            planned = how.planned(source)
            if dry_run:
                _say_unseen(source)
                return planned.described(source, recipe) | smaller
            name = default_output(source, recipe, planned.described(source, recipe))
            place = place or Output(name, making.overwrite, read)
            made = Made.of(place, *how.written(source, planned, place))
        result, measured = made.planned.described(source, recipe) | smaller, made.planned.measured
    pushed = publishing.publish(place.given) if publishing else None
    return result | {
        "output": str(place.given),
        "seconds": round(time.perf_counter() - started, 2),
        "error": made.errors.frobenius if made.errors else None,
        **({"metric_error": made.errors.own} if made.errors and measured and measured.calibration else {}),
        **({"runtimes": made.files} if shipment else {}),
        "pushed": pushed,
    }


def _say_unseen(source: Model) -> None:
    if source.weights is None:
        note(f"Sizes are those of config.json: the weights of {source.name} are not here, and may hold more.")


def default_output(source: Model, recipe: Recipe, result: dict[str, Any]) -> str:
    """`<name>-<method>-<size>`, without dots, which some loaders cannot take."""
    return _named(source, recipe, format_count(result["parameters"]["after"]))


def _named(source: Model, recipe: Recipe, size: str) -> str:
    name = source.provenance()["model"].split("/")[-1]
    what = recipe.method if recipe.factorizes else "vocabulary"
    return f"{name}-{what}-{size}".replace(".", "_")
