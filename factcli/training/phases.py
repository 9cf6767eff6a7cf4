"""LPAF in one command: prune while training, factorize what is left, train the factors beside it."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from ..conversion import check_feasible, convert
from ..criteria import criteria
from ..outputs import Output
from ..provenance import made_with
from ..recipe import FILE_NAME, dump_recipe
from ..source import Source, find_source
from .checkpoints import PHASES, RUN, clear, close_folder, folder_of, open_folder
from .export import RESULTS
from .job import Job
from .runner import Runner, identity
from .settings import Settings

_OF_MIXING = ("mixed_start", "mixed_until", "consistency")
_OF_PRUNING = ("prune", "density", "prune_scope", "prune_warmup", "prune_cooldown", "prune_share")
MakeRunner = Callable[[Source, Settings, bool, bool], Runner]  # of source, settings, new head and resume


def prune_and_factorize(
    job: Job, output: Output, run: MakeRunner, texts: dict[str, Any], rest: dict[str, Any], new_head: bool, resume: bool
) -> dict[str, Any]:
    """The three phases of Ren and Zhu 2024. Each phase is the command that it would be alone, the first two's results
    kept beside `output` until all are done, so that `resume` goes on where it was. Pruning, of the targets that the
    recipe's patterns leave, takes `prune_share` of the epochs or steps, mixed-rank training the others. `rest` is what
    else `convert` is given; `texts` are the training data, which a criterion that looks at data reads unless the recipe
    names others.

    Returns:
        The result of the last phase, with the steps and seconds of all, and the first one's as "pruned".

    Raises:
        FactcliError: As each phase does; for an unfinished run in the way, and for one with other options to resume.
    """
    source, recipe, settings = job.source, job.recipe, job.settings
    assert recipe is not None
    check_feasible(source, recipe)
    kept = output.beside(PHASES)
    if not resume:
        clear(folder_of(output.path), output.overwrite)
    open_folder(kept, identity(job, settings.seed), resume, output.overwrite)
    name = source.provenance()["model"].split("/")[-1]
    sparse, factors = kept / "1" / name, kept / "2" / name
    for folder in (sparse, factors):
        folder.parent.mkdir(exist_ok=True)

    def phase(source: Source, place: Output, chosen: Settings, new_head: bool) -> Runner:
        return run(source, chosen, new_head, resume and (folder_of(place.path) / RUN).is_file())

    plain = {name: getattr(Settings, name) for name in (*_OF_MIXING, *_OF_PRUNING)}
    share, steps = settings.prune_share, settings.max_steps
    before = after = None
    if steps is not None:
        before = max(1, round(share * steps))
        after = max(1, steps - before)
    first = replace(
        settings, **{k: plain[k] for k in (*_OF_MIXING, "prune_share")}, schedule=None, epochs=share * settings.epochs,
        max_steps=before, prune_include=recipe.include, prune_exclude=recipe.exclude,
    )  # fmt: skip
    if not (sparse / "config.json").is_file():
        place = Output(sparse)
        phase(source, place, first, new_head).one(place, settings.seed)
    factorizing = 0.0
    if not (factors / "config.json").is_file():
        given = {k: v for k, v in asdict(recipe).items() if v not in (None, (), False)}
        if criteria[recipe.criterion].needs and recipe.calibration is None:
            given |= texts
        factorizing = convert(str(sparse), factors, **given, **rest)["seconds"]
    third = replace(
        settings, **{k: plain[k] for k in _OF_PRUNING}, mixed_with=str(sparse), epochs=(1 - share) * settings.epochs,
        max_steps=after,
    )  # fmt: skip
    pruned = json.loads((sparse / RESULTS).read_text(encoding="utf-8"))
    pruned = {k: v for k, v in pruned.items() if k not in ("model", "output", "losses")}  # whose folders will be gone

    def finish(last: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        whole = last | {
            "model": source.name,
            "steps": pruned["steps"] + last["steps"],
            "seconds": round(pruned["seconds"] + factorizing + last["seconds"], 2),
            "pruned": pruned,
        }
        return whole, {FILE_NAME: dump_recipe(recipe, made_with(source, recipe), settings.to_dict())}

    runner = phase(find_source(str(factors), accept_factorized=True), output, third, False)
    result = replace(runner, finish=finish).one(output, settings.seed)
    close_folder(kept)
    return result
