"""What a run leaves behind: an export like a converted one, or a native model that stayed dense."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..card.results import update_results
from ..card.write import dense_card, make_card
from ..checkpoint import auto_class, copy_small_files, write_export, write_json, write_weights
from ..compress.plan import Plan
from ..directory import new_directory
from ..errors import FactcliError
from ..provenance import made_with
from ..recipe.old_recipe import FILE_NAME, dump_recipe
from ..source import Loaded, count_parameters
from ..tasks import HUB_ID
from .job import Job

RESULTS = "finetune_results.json"


def export(
    job: Job, loaded: Loaded, output: Path, overwrite: bool, result: dict[str, Any], losses: list[tuple[int, float]]
) -> None:
    """Write the trained model of a job to `output`, in the source's precision, reloaded and compared.

    With it go the recipe (how it was made and trained), the card and finetune_results.json (`result` and the losses).
    """
    source, dtype = job.source, (job.recipe.dtype if job.recipe else None) or job.source.dtype
    torch.nn.Module.to(loaded.model, "cpu")
    loaded.model.train(False)
    training = job.settings.to_dict() | {"learning_rate": result["learning_rate"], "seed": result["seed"]}
    commit = job.settings.data_revision
    about = made_with(source, job.recipe, f"{HUB_ID}@{commit}" if commit else None)
    texts = {FILE_NAME: dump_recipe(job.recipe, about, training)}
    entry = {k: result[k] for k in ("task", "metrics", "majority")}
    entry |= {"split": job.task.validation, "examples": len(job.validation)}
    with new_directory(output, overwrite) as work:
        if job.plan is not None:
            plan = whole_plan(job.plan, loaded)
            sizes = tuple(n * getattr(torch, dtype).itemsize for n in (plan.parameters_before, plan.parameters_after))
            assert job.recipe is not None
            head = auto_class(source, source.model_class)
            card = make_card(source, job.recipe, plan, head, (sizes[0], sizes[1]), about, _story(result))
            write_export(work, loaded, source, plan, texts | {"README.md": card}, job.changes, dtype)
        else:
            head = auto_class(source, type(loaded.model))
            card = dense_card(source, head, about, _story(result), result["task"])
            _write_dense(work, job, loaded, texts | {"README.md": card}, dtype)
        write_json(work / RESULTS, result | {"losses": [list(pair) for pair in losses]})
        tag = "text2text-generation" if job.settings.text_to_text else "text-classification"
        update_results(work / "README.md", [entry], output.name, tag)


def whole_plan(plan: Plan, loaded: Loaded) -> Plan:
    """The plan with the parameters of the model as trained, whose head may not be the source's."""
    after = count_parameters(loaded.model)
    return replace(plan, parameters_before=after + plan.targets_before - plan.targets_after)


def _write_dense(work: Path, job: Job, loaded: Loaded, texts: dict[str, str], dtype: str) -> None:
    torch.nn.Module.to(loaded.model, getattr(torch, dtype))
    copy_small_files(job.source, work)
    raw = {k: v for k, v in job.source.raw.items() if k != "_name_or_path"}
    write_json(
        work / "config.json", raw | {"architectures": [type(loaded.model).__name__], "dtype": dtype} | job.changes
    )
    write_weights(work, loaded)
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")
    model_class: Any = type(loaded.model)
    again, info = model_class.from_pretrained(work, dtype="auto", local_files_only=True, output_loading_info=True)
    written = again.state_dict()
    differ = [k for k, t in loaded.model.state_dict().items() if not torch.equal(t, written[k])]
    if info["missing_keys"] or differ:
        name = sorted([*info["missing_keys"], *differ])[0]
        raise FactcliError(f"The saved model does not reload: {name} differs; please report this.")


def _story(result: dict[str, Any]) -> str:
    return (
        f"Fine-tuned on {result['task']} ({result['schedule']}, {result['steps']} steps, learning rate "
        f"{result['learning_rate']:g}, seed {result['seed']})."
    )
