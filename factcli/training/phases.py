"""LPAF in one command: prune while training, factorize what is left, train the factors beside it."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import story
from ..compress.criteria import criteria
from ..compress.measured import Measured
from ..conversion import check_feasible, export_factorized, load_for, plan_for
from ..files import write_json
from ..outputs import Output
from ..recipe.old_recipe import Recipe
from ..source import find_source
from .calibrating import measured_now
from .checkpoints import PHASES, RUN, clear, close_folder, folder_of, forget, open_folder
from .events import Watch
from .export import RESULTS
from .identity import identity
from .job import Job, prepare
from .runner import Before, Runner
from .settings import Settings
from .setup import RunOptions, equipped, planned

if TYPE_CHECKING:
    from datasets import Dataset

_OF_MIXING = ("mixed_start", "mixed_until", "consistency")
_OF_PRUNING = ("prune", "density", "prune_scope", "prune_warmup", "prune_cooldown", "prune_share", "prune_include",
               "prune_exclude")  # fmt: skip
_GONE = ("model", "output", "validation", "losses")  # of the first phase, whose folder is removed
TOOK = "factorized.json"  # seconds of the second phase


def prune_and_factorize(
    job: Job, train: "Dataset", validation: "Dataset", output: Output, run: RunOptions, watch: Watch
) -> dict[str, Any]:
    """The three phases of Ren and Zhu 2024. Each does what the command alone would do, its result kept beside `output`
    until all are done, so that `resume` goes on where it was. Pruning, of the targets that the recipe's patterns leave,
    takes `prune_share` of the epochs or steps, mixed-rank training the others. A criterion that looks at data reads the
    training data, unless the recipe names others. `train` and `validation` are the data that the job was prepared from.

    Returns:
        The result of the last phase, with the steps and seconds of all, and the first one's as "pruned".

    Raises:
        FactcliError: As each phase does; for an unfinished run in the way, and for one with other options to resume.
    """
    source, recipe, settings = job.source, job.recipe, job.settings
    assert recipe is not None
    check_feasible(replace(source, weights=None), recipe)
    kept = output.beside(PHASES)
    if not run.resume:
        clear(folder_of(output.path), output.overwrite)
    open_folder(kept, identity(job) | {"the seed": settings.seed}, run.resume, output.overwrite)
    name = source.provenance()["model"].split("/")[-1]
    sparse, factors = kept / "1" / name, kept / "2" / name
    first, third = _shared_out(settings, recipe)
    try:
        for folder in (sparse, factors):
            folder.parent.mkdir(exist_ok=True)
        if not (sparse / "config.json").is_file():
            _train(replace(job, settings=first, recipe=None), Output(sparse), run, watch)
        pruned = json.loads((sparse / RESULTS).read_text(encoding="utf-8"))
        if not (factors / "config.json").is_file():
            write_json(kept / TOOK, _factorize(job, sparse, Output(factors), run.device))
    except BaseException:
        forget(kept)
        raise
    took = json.loads((kept / TOOK).read_text(encoding="utf-8")) if (kept / TOOK).is_file() else 0.0
    before = Before(
        job,
        (story.trained(first.to_dict(job.task.regression), pruned), story.factorized("what pruning left", recipe)),
        pruned["steps"],
        pruned["seconds"] + took,
        {k: v for k, v in pruned.items() if k not in _GONE},
    )
    small = find_source(str(factors), None, job.trust_remote_code, accept_factorized=True)
    last = prepare(small, job.task, replace(third, mixed_with=str(sparse)), train, validation)
    last = replace(last, data_dir=job.data_dir, trust_remote_code=job.trust_remote_code)
    result = _train(last, output, run, watch, before)
    close_folder(kept)
    return result


def _shared_out(settings: Settings, recipe: Recipe) -> tuple[Settings, Settings]:
    """The settings of the first and of the last phase."""
    plain = {name: getattr(Settings, name) for name in (*_OF_MIXING, *_OF_PRUNING)}
    share, steps = settings.prune_share, settings.max_steps
    before = None if steps is None else min(max(1, round(share * steps)), steps - 1)
    after = None if steps is None or before is None else steps - before
    first = replace(
        settings, **{k: plain[k] for k in (*_OF_MIXING, "prune_share")}, schedule=None, epochs=share * settings.epochs,
        max_steps=before, prune_include=recipe.include, prune_exclude=recipe.exclude,
    )  # fmt: skip
    third = replace(
        settings, **{k: plain[k] for k in _OF_PRUNING}, epochs=(1 - share) * settings.epochs, max_steps=after,
        new_head=False,
    )  # fmt: skip
    return first, third


def _train(job: Job, place: Output, run: RunOptions, watch: Watch, before: Before | None = None) -> dict[str, Any]:
    ready = planned(job, None, run.device)
    under_way = run.resume and (folder_of(place.path) / RUN).is_file()
    options = equipped(ready, replace(run, resume=under_way))
    return Runner(ready, options, watch, before).one(place, job.settings.seed)


def _factorize(job: Job, sparse: Path, place: Output, device: torch.device) -> float:
    """Make `place` of the model in `sparse`; the seconds that it took."""
    started = time.perf_counter()
    recipe = job.recipe
    assert recipe is not None
    source = find_source(str(sparse), None, job.trust_remote_code)
    loaded = load_for(source, recipe)
    measured = measured_now(replace(job, source=source), loaded.model, device, None, False)
    measured = measured or Measured(criteria[recipe.criterion].made(recipe))
    plan = plan_for(source, recipe, loaded, measured, device)
    export_factorized(source, recipe, plan, place, loaded, measured, data_dir=job.data_dir, device=device)
    return round(time.perf_counter() - started, 2)
