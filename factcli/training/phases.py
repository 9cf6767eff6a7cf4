"""LPAF in one command: prune while training, factorize what is left, train the factors beside it."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..card.results import write_whole
from ..checkpoint import write_json
from ..compress.criteria import criteria
from ..conversion import check_feasible, convert
from ..provenance import made_with
from ..recipe.old_recipe import FILE_NAME, dump_recipe
from .checkpoints import clear, folder_of, open_folder
from .export import RESULTS
from .job import Job
from .runner import identity
from .settings import Settings

_OF_MIXING = ("mixed_start", "mixed_until", "consistency")
_OF_PRUNING = ("prune", "density", "prune_scope", "prune_warmup", "prune_cooldown", "prune_share")


def prune_and_factorize(
    job: Job, output: Path, rest: dict[str, Any], new_head: bool, resume: bool, overwrite: bool
) -> dict[str, Any]:
    """The three phases of Ren and Zhu 2024; `rest` are what else `finetune` was given. Each phase is the command that
    it would be alone, its result kept beside `output` until all are done, so that `resume` goes on where it was.
    Pruning, of the targets that the recipe's patterns leave, takes `prune_share` of the epochs or steps, mixed-rank
    training the others. A criterion that looks at data reads the training data, unless the recipe names others.

    Returns:
        The result of the last phase, with the steps and seconds of all, and the first one's as "pruned".

    Raises:
        FactcliError: As each phase does; for an unfinished run in the way, and for one with other options to resume.
    """
    from .finetune import finetune  # which calls this

    source, recipe, settings = job.source, job.recipe, job.settings
    assert recipe is not None
    check_feasible(source, recipe)
    kept = output.with_name(f"{output.name}-phases")
    if not resume:
        clear(folder_of(output), overwrite)
    open_folder(kept, identity(job, settings.seed), resume, overwrite)
    name = source.provenance()["model"].split("/")[-1]
    sparse, factors = kept / "1" / name, kept / "2" / name
    for folder in (sparse, factors):
        folder.parent.mkdir(exist_ok=True)

    def phase(model: str, folder: Path, chosen: Settings, new_head: bool) -> dict[str, Any]:
        config = kept / f"{folder.parent.name if folder is sparse else 3}.yaml"
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(chosen).items() if v is not None}
        config.write_text(dump_recipe(None, {}, values), encoding="utf-8")
        under_way = resume and folder_of(folder).exists()
        return finetune(model, folder, config=config, new_head=new_head, resume=under_way, overwrite=overwrite, **rest)

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
        phase(source.reference, sparse, first, new_head)
    factorizing = 0.0
    if not (factors / "config.json").is_file():
        given = {k: v for k, v in asdict(recipe).items() if v not in (None, (), False)}
        if criteria[recipe.criterion].needs and recipe.calibration is None:
            given["calibration"] = settings.task or str(rest["train"])
            given |= {name: rest[name] for name in ("text_column", "label_column")}
            given["data_revision"] = settings.data_revision
        made = convert(str(sparse), factors, **given, data_dir=rest["data_dir"], device=rest["device"])
        factorizing = made["seconds"]
    third = replace(
        settings, **{k: plain[k] for k in _OF_PRUNING}, mixed_with=str(sparse), epochs=(1 - share) * settings.epochs,
        max_steps=after,
    )  # fmt: skip
    last = phase(str(factors), output, third, False)
    pruned, written = (json.loads((folder / RESULTS).read_text(encoding="utf-8")) for folder in (sparse, output))
    pruned = {k: v for k, v in pruned.items() if k not in ("model", "output", "losses")}  # whose folders are gone
    result = last | {
        "model": source.name,
        "steps": pruned["steps"] + last["steps"],
        "seconds": round(pruned["seconds"] + factorizing + last["seconds"], 2),
        "pruned": pruned,
    }
    write_json(output / RESULTS, result | {"losses": written["losses"]})
    write_whole(output / FILE_NAME, dump_recipe(recipe, made_with(source, recipe), settings.to_dict()))
    shutil.rmtree(kept)
    return result
