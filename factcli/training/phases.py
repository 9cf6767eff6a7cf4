"""Training as a list of phases over one folder, each of which makes a model of what the one before it made."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..card import story
from ..compress.exporting import export_factorized
from ..compress.measured import Measured
from ..compress.planning import check_feasible, load_for, plan_for
from ..files.atomic import write_json
from ..files.outputs import Output
from ..models.model import find_model
from ..recipe.factorizing import Recipe
from ..recipe.fields import declared
from ..recipe.registry import criteria
from ..recipe.training import Settings
from .calibrating import measured_now
from .checkpoints import RUN, close_folder, folder_of, forget, open_folder
from .events import Watch
from .export import RESULTS
from .identity import identity
from .job import Job, prepare
from .runner import Before, Runner
from .setup import RunOptions, equipped, planned

_OF_MIXING = ("mixed_start", "mixed_until", "consistency")
_OF_PRUNING = ("prune", "density", "prune_scope", "prune_warmup", "prune_cooldown", "prune_share", "prune_include",
               "prune_exclude")  # fmt: skip
_GONE = ("model", "output", "validation", "losses")  # of a phase whose folder is removed
DONE = "done.json"  # beside the model of a phase: what it said of itself


@dataclass(frozen=True)
class Work:
    """A training under way: the job as a whole, how it is run, and the models that its phases have made by now."""

    job: Job
    run: RunOptions
    watch: Watch
    made: tuple[Path, ...] = ()

    def train(self, job: Job, place: Output, before: Before | None = None) -> dict[str, Any]:
        """One run of the trainer, which goes on from its own checkpoints where there are some."""
        return Runner(job, equipped(job, self.run), self.watch, before).one(place, job.settings.seed)


Phase = Callable[[Work, Output], dict[str, Any]]


def phases_of(job: Job, recipe: Recipe | None) -> tuple[Phase, ...]:
    """What training a job consists of. Direct and staged are one run of the trainer, which factorizes at the start or
    at its stages: the optimizer's moments and the learning rate go on over all of them. With pruning and a budget it is
    the way of Ren and Zhu 2024 (LPAF). Raises FactcliError for a budget that cannot be met."""
    if job.settings.prune is not None and recipe is not None:
        check_feasible(replace(job.source, weights=None), recipe)  # before anything is cleared away
        return prune, factorize, mix
    return (lambda work, place: work.train(planned(work.job, recipe, work.run.device), place),)


def run_phases(phases: tuple[Phase, ...], work: Work, output: Output) -> dict[str, Any]:
    """All phases, the last one into `output`. What the others make is kept in the folder of the run, with the last
    one's checkpoints, until all are done, so that `resume` goes on where it was.

    Raises FactcliError as each phase does; for an unfinished run in the way, and for one with other options to resume.
    """
    *first, last = phases
    if not first:
        return last(work, output)
    job, kept = work.job, folder_of(output.path)
    open_folder(kept, identity(job) | {"the seed": job.settings.seed}, work.run.how.resume, output.overwrite)
    try:
        for number, phase in enumerate(first, 1):
            place = kept / str(number) / job.source.provenance()["model"].split("/")[-1]
            place.parent.mkdir(exist_ok=True)
            if not (place / "config.json").is_file():
                write_json(place.parent / DONE, phase(work, Output(place)))
            work = replace(work, made=(*work.made, place))
        result = last(work, output)
    except BaseException:
        forget(kept)
        raise
    close_folder(kept)
    return result


def prune(work: Work, place: Output) -> dict[str, Any]:
    """Train with `prune_share` of the epochs or steps, pruning the targets that the recipe's patterns leave."""
    job = work.job
    assert job.recipe is not None
    first = replace(job, settings=_shared_out(job.settings, job.recipe)[0], recipe=None)
    started = work.run.how.resume and (folder_of(place.path) / RUN).is_file()
    return replace(work, run=replace(work.run, how=work.run.how.but(resume=started))).train(first, place)


def factorize(work: Work, place: Output) -> dict[str, Any]:
    """Factorize what pruning left; a criterion that looks at data reads the training data, unless the recipe names
    others."""
    started = time.perf_counter()
    job, recipe, device = work.job, work.job.recipe, work.run.device
    assert recipe is not None
    source = find_model(str(work.made[-1]), None, job.trust_remote_code)
    loaded = load_for(source, recipe)
    measured = measured_now(replace(job, source=source), loaded.model, device, None, False)
    measured = measured or Measured(criteria[recipe.criterion].made(recipe))
    plan = plan_for(source, recipe, loaded, measured, device)
    export_factorized(source, recipe, plan, place, loaded, measured, data_dir=job.data_dir, device=device)
    return {"seconds": round(time.perf_counter() - started, 2)}


def mix(work: Work, place: Output) -> dict[str, Any]:
    """Train the factors with the other epochs or steps, beside the matrices that they replace.

    The result is of all phases: their steps and seconds, and what pruning gave, as "pruned".
    """
    job = work.job
    assert job.recipe is not None
    first, third = _shared_out(job.settings, job.recipe)
    sparse, factors = work.made
    pruned = json.loads((sparse / RESULTS).read_text(encoding="utf-8"))
    done = factors.parent / DONE  # not there after a kill between the model and what is said of it
    took = json.loads(done.read_text(encoding="utf-8"))["seconds"] if done.is_file() else 0.0
    before = Before(
        job,
        (story.trained(first.to_dict(**job.known), pruned), story.factorized("what pruning left", job.recipe)),
        pruned["steps"],
        pruned["seconds"] + took,
        {k: v for k, v in pruned.items() if k not in _GONE},
    )
    small = find_model(str(factors), None, job.trust_remote_code, accept_factorized=True)
    last = prepare(small, job.task, third.but(mixed_with=str(sparse)), job.examples, job.validation)
    last = replace(last, data_dir=job.data_dir, trust_remote_code=job.trust_remote_code)
    return work.train(planned(last, None, work.run.device), place, before)


def _shared_out(settings: Settings, recipe: Recipe) -> tuple[Settings, Settings]:
    """The settings of the first and of the last phase."""
    plain = {name: one.default for name, one in declared(Settings).items()}
    share, steps = settings.prune_share, settings.max_steps
    before = None if steps is None else min(max(1, round(share * steps)), steps - 1)
    after = None if steps is None or before is None else steps - before
    first = settings.but(
        **{k: plain[k] for k in (*_OF_MIXING, "prune_share")}, schedule=None, epochs=share * settings.epochs,
        max_steps=before, prune_include=recipe.include, prune_exclude=recipe.exclude,
    )  # fmt: skip
    third = settings.but(
        **{k: plain[k] for k in _OF_PRUNING}, epochs=(1 - share) * settings.epochs, max_steps=after, new_head=False
    )
    return first, third
