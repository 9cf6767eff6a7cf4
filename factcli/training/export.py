"""What a run leaves behind: an export like a converted one, or a native model that stayed dense."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..card.results import update_results
from ..card.write import dense_card, make_card
from ..checkpoint import auto_class, write_json, write_model
from ..directory import new_directory
from ..models.weights import read_weights
from ..plan import Plan
from ..provenance import made_with
from ..recipe import FILE_NAME, dump_recipe
from ..source import Loaded, Source
from ..tasks import HUB_ID
from .job import Job

RESULTS = "finetune_results.json"


def export(
    job: Job,
    loaded: Loaded,
    output: Path,
    overwrite: bool,
    result: dict[str, Any],
    losses: list[tuple[int, float]],
    score: Callable[[PreTrainedModel], None],
) -> None:
    """Write the trained model of a job to `output`, in its precision, reloaded and compared.

    With it go the recipe (how it was made and trained), the card and finetune_results.json (`result` and the losses).
    `score` is given the model as it was written, and completes `result`.
    """
    source = job.source
    dtype = job.dtype or (job.recipe.dtype if job.recipe else None) or source.dtype
    device = loaded.model.device
    torch.nn.Module.to(loaded.model, "cpu")
    loaded.model.train(False)
    training = job.settings.to_dict() | {"learning_rate": result["learning_rate"], "seed": result["seed"]}
    commit = job.settings.data_revision
    about = made_with(source, job.recipe, f"{HUB_ID}@{commit}" if commit else None)
    texts = {FILE_NAME: dump_recipe(job.recipe, about, training, job.dtype)}
    with new_directory(output, overwrite) as work:
        written = write_model(work, loaded, source, job.plan, texts, job.changes, dtype)
        torch.nn.Module.to(written, device)
        score(written)
        if job.plan is not None:
            assert job.recipe is not None
            weights = read_weights(work, output.name)
            plan = whole_plan(job.plan, source, weights.parameters - len(job.plan.factorized))
            sizes = (_bytes_before(plan, source, weights.bytes), weights.bytes)
            card = make_card(
                source, job.recipe, plan, auto_class(source, source.model_class), sizes, about, _story(result)
            )
        else:
            card = dense_card(source, auto_class(source, type(loaded.model)), about, _story(result), result["task"])
        (work / "README.md").write_text(card, encoding="utf-8")
        write_json(work / RESULTS, result | {"losses": [list(pair) for pair in losses]})
        entry = {k: result[k] for k in ("task", "metrics", "majority")}
        entry |= {"split": job.task.validation, "examples": len(job.validation)}
        tag = "text2text-generation" if job.settings.text_to_text else "text-classification"
        update_results(work / "README.md", [entry], output.name, tag)


def whole_plan(plan: Plan, source: Source, after: int) -> Plan:
    """The plan with the parameters of the source's files, and of those that were written."""
    rest = after - plan.targets_after
    before = rest + plan.targets_before if source.factorized else source.stored.parameters
    return replace(plan, parameters_before=before, rest=rest)


def _bytes_before(plan: Plan, source: Source, after: int) -> int:
    """Of the source's files; of one that is factorized, what they were with whole matrices."""
    if not source.factorized:
        return source.stored.bytes
    return round(after * plan.parameters_before / plan.parameters_after)


def _story(result: dict[str, Any]) -> str:
    return (
        f"Fine-tuned on {result['task']} ({result['schedule']}, {result['steps']} steps, learning rate "
        f"{result['learning_rate']:g}, seed {result['seed']})."
    )
