"""finetune: train a model on a task, factorizing it at once, in stages, or not at all."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.tasks import Task, data_commit, load_split
from ..files.outputs import Output, inputs
from ..models.model import Model, find_model
from ..notes import note
from ..publishing.publish import Publishing
from ..recipe import running
from ..recipe.commands import FINETUNE, Asked, answers
from ..recipe.effects import PUBLISHING
from ..recipe.factorizing import Recipe
from ..recipe.file import source_of_recipe
from ..recipe.rules import refuse_idle
from ..training.checkpoints import CHECKPOINTS, SEEDS, check_clear
from ..training.job import Job, prepare
from ..training.phases import Work, phases_of, run_phases
from ..training.request import Request, fitted, read_request
from ..training.run import is_main
from ..training.runner import Runner
from ..training.setup import RunOptions, equipped, planned
from ..training.unlabelled import prepare_unlabelled
from .unchanged import unchanged


@answers(FINETUNE)
@unchanged()
def finetune(asked: Asked) -> dict[str, Any]:
    """Train a model (a directory or Hub id, dense or factorized) on a task and save the result to `output`.

    With a budget a dense model is factorized, by `schedule`; without one it stays dense. `watch` is called with every
    Event of the run.

    Returns:
        The result object of the command's --json. `failed_run` says that the accuracy on the validation data is at or
        below `majority`: that of always answering the training set's commonest label (seed paper, section 3; for lists
        of labels the same of micro-F1 and each label's commoner value). With `seeds`, an object with `runs` (one such
        object each) and `summary`.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, a training that diverges included.
    """
    hub, origin = asked.of(running.Publishing), asked.of(running.Source)
    data_dir = asked.of(running.DataDir).data_dir
    refuse_idle(PUBLISHING, vars(hub), asked.flags(running.Publishing))
    request = read_request(asked)
    making, model, revision = request.making, request.making.model, origin.revision
    if model is None:
        model, revision = source_of_recipe(making.config, revision), None
    source = find_model(model, revision, origin.trust_remote_code, accept_factorized=True)
    taken = source.files
    request, task = fitted(request, source, data_dir)
    folder = Path(making.output) if making.output is not None else Path(_default_output(source, task, request.recipe))
    beside = (SEEDS,) if request.several else (CHECKPOINTS,)
    place = Output(folder, making.overwrite, _inputs(model, request, data_dir), beside)
    with place.held() if is_main() else nullcontext():
        for name in beside if is_main() and not request.run.resume else ():
            check_clear(place.beside(name), making.overwrite)
        publishing = Publishing.asked(hub.push_to_hub and is_main(), hub.hub_model_id, hub.private, folder)
        job = _job(source, task, request, data_dir, origin.trust_remote_code)
        run = RunOptions(request.device, request.run, place.beside("runs"))
        watch = asked.called.get("watch") or (lambda event: None)
        for sentence in taken.notes():
            note(sentence)
        if request.several:
            job = planned(job, request.recipe, request.device)
            return Runner(job, equipped(job, run), watch).many(place, request.seeds)
        phases = phases_of(job, request.recipe)
        result = run_phases(phases, Work(replace(job, recipe=request.recipe), run, watch), place)
    return result | {"pushed": publishing.publish(place.given)} if publishing else result


def _inputs(model: str, request: Request, data_dir: str | Path | None) -> Any:
    """What is read, and must stay as it is."""
    settings, files, recipe = request.settings, request.files, request.recipe
    return inputs(
        ("the source", model), ("the teacher", settings.teacher), ("--mixed-with", settings.mixed_with),
        ("--data-dir", data_dir), ("the training file", files.train), ("the validation file", files.validation),
        ("--calibration", recipe.calibration if recipe else None), ("the recipe", request.making.config),
    )  # fmt: skip


def _job(source: Model, task: Task, request: Request, data_dir: str | Path | None, trusted: bool) -> Job:
    """What is trained on what, with the data at the commit that is recorded; the Hub may not say more than the
    revision."""
    settings = request.settings
    commit = data_commit(task, data_dir, settings.data_revision)
    on_hub = not task.files and data_dir is None
    settings = settings.but(
        task=None if task.files else task.name,
        data_revision=(commit or settings.data_revision) if on_hub else None,
    )
    train = load_split(task, "train", data_dir, settings.limit, settings.data_revision)
    make = prepare if task.label is not None else prepare_unlabelled
    job = make(source, task, settings, train, load_split(task, None, data_dir, revision=settings.data_revision))
    return replace(job, data_dir=data_dir, trust_remote_code=trusted, dtype=request.dtype)


def _default_output(source: Model, task: Task, recipe: Recipe | None) -> str:
    name = source.provenance()["model"].split("/")[-1]
    return "-".join([name, *([recipe.method] if recipe else []), task.name]).replace(".", "_")
