"""LPAF in one command: prune while training, factorize what is left, train the factors beside it."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..card.results import write_whole
from ..conversion import convert
from ..criteria import criteria
from ..provenance import made_with
from ..recipe import FILE_NAME, Recipe, dump_recipe
from ..source import Source
from .settings import Settings

_OF_MIXING = ("mixed_start", "mixed_until", "consistency")
_OF_PRUNING = ("prune", "density", "prune_scope", "prune_warmup", "prune_cooldown", "prune_share")


def prune_and_factorize(
    source: Source,
    output: Path,
    recipe: Recipe,
    settings: Settings,
    rest: dict[str, Any],
    resume: bool,
    overwrite: bool,
) -> dict[str, Any]:
    """The three phases of Ren and Zhu 2024; `rest` are what else `finetune` was given. Each phase is the command that
    it would be alone, its result kept beside `output` until all are done, so that `resume` goes on where it was.
    Pruning takes `prune_share` of the epochs or steps, mixed-rank training the others. A criterion that looks at data
    reads the training data, unless the recipe names others.

    Returns:
        The result of the last phase, with the first one's as "pruned".
    """
    from .finetune import finetune  # which calls this

    kept = output.with_name(f"{output.name}-phases")
    if not resume:
        shutil.rmtree(kept, ignore_errors=True)
    name = source.provenance()["model"].split("/")[-1]
    sparse, factors = kept / "1" / name, kept / "2" / name
    for folder in (sparse, factors):
        folder.parent.mkdir(parents=True, exist_ok=True)

    def phase(model: str, folder: Path, chosen: Settings) -> dict[str, Any]:
        config = kept / f"{folder.parent.name if folder is sparse else 3}.yaml"
        values = {k: v for k, v in asdict(chosen).items() if v is not None}
        config.write_text(dump_recipe(None, {}, values), encoding="utf-8")
        under_way = resume and folder.with_name(f"{folder.name}-checkpoints").exists()
        return finetune(model, folder, config=config, resume=under_way, overwrite=overwrite, **rest)

    plain = {name: getattr(Settings, name) for name in (*_OF_MIXING, *_OF_PRUNING)}
    share, steps = settings.prune_share, settings.max_steps
    before = after = None
    if steps is not None:
        before = max(1, round(share * steps))
        after = max(1, steps - before)
    first = replace(
        settings, **{k: plain[k] for k in (*_OF_MIXING, "prune_share")}, schedule=None, mixed_with=None,
        epochs=share * settings.epochs, max_steps=before,
    )  # fmt: skip
    pruned: dict[str, Any] = {}
    if not (sparse / "config.json").is_file():
        pruned = phase(source.name, sparse, first)
    if not (factors / "config.json").is_file():
        given = {k: v for k, v in asdict(recipe).items() if v not in (None, (), False)}
        if criteria[recipe.criterion].needs and recipe.calibration is None:
            given["calibration"] = settings.task or str(rest["train"])
            given |= {name: rest[name] for name in ("text_column", "label_column")}
        convert(str(sparse), factors, **given, data_dir=rest["data_dir"])
    third = replace(
        settings, **{k: plain[k] for k in _OF_PRUNING}, schedule="mixed-rank", mixed_with=str(sparse),
        epochs=(1 - share) * settings.epochs, max_steps=after,
    )  # fmt: skip
    result = phase(str(factors), output, third)
    write_whole(output / FILE_NAME, dump_recipe(recipe, made_with(source, recipe), settings.to_dict()))
    shutil.rmtree(kept)
    return result | {"model": source.name, "pruned": pruned or None}
