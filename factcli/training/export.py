"""What a run leaves behind: an export like a converted one, or a native model that stayed dense."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..card.results import update_results
from ..card.write import dense_card, make_card
from ..checkpoint import auto_class, copy_small_files, write_export, write_json, write_weights
from ..directory import new_directory
from ..errors import FactcliError
from ..plan import Plan
from ..provenance import calibrated_on, made_with, model_argument, trained_on
from ..recipe import FILE_NAME, dump_recipe
from ..source import Loaded, count_parameters
from .job import Job
from .run import processes

RESULTS = "finetune_results.json"


def export(
    job: Job,
    loaded: Loaded,
    output: Path,
    overwrite: bool,
    result: dict[str, Any],
    losses: list[tuple[int, float]],
    whole: Job,
    sentences: list[str],
) -> None:
    """Write the trained model of a job to `output`, in the source's precision, reloaded and compared.

    With it go the recipe (how it was made and trained), the card and finetune_results.json (`result` and the losses).
    What they say is of `whole`, the job whose last part `job` may be, and of what was done, a sentence a phase.
    """
    source, dtype = job.source, (job.recipe.dtype if job.recipe else None) or job.source.dtype
    torch.nn.Module.to(loaded.model, "cpu")
    loaded.model.train(False)
    training = whole.settings.to_dict(whole.task.regression)
    if whole is job:
        training |= {"learning_rate": result["learning_rate"], "seed": result["seed"]}
    data = trained_on(whole.task, whole.data_dir, whole.settings.data_revision)
    if whole.recipe is not None and not whole.source.factorized:
        chosen = calibrated_on(whole.recipe, whole.data_dir)
        data |= {key.replace("data", "calibration"): value for key, value in chosen.items()}
    about = made_with(whole.source, whole.recipe, data, sentences)
    texts = {FILE_NAME: dump_recipe(whole.recipe, about, training)}
    command = _command(whole)
    entry = {k: result[k] for k in ("task", "metrics", "majority")}
    entry |= {"split": job.task.validation, "examples": len(job.validation)}
    with new_directory(output, overwrite) as work:
        if job.plan is not None:
            plan = whole_plan(job.plan, loaded)
            sizes = tuple(n * getattr(torch, dtype).itemsize for n in (plan.parameters_before, plan.parameters_after))
            head = auto_class(source, source.model_class)
            card = make_card(whole.source, whole.recipe, plan, head, (sizes[0], sizes[1]), about, command, training)
            write_export(work, loaded, source, plan, texts | {"README.md": card}, job.changes, dtype)
        else:
            head = auto_class(source, type(loaded.model))
            card = dense_card(whole.source, head, about, result["task"], command, training)
            _write_dense(work, job, loaded, texts | {"README.md": card}, dtype)
        named = {"model": whole.source.provenance()["model"], "output": output.name}  # without directories
        write_json(work / RESULTS, result | named | {"losses": [list(pair) for pair in losses]})
        tag = "text2text-generation" if job.settings.text_to_text else "text-classification"
        update_results(work / "README.md", [entry], output.name, tag)


def _command(job: Job) -> list[str]:
    """What repeats a training, beside the recipe file that it wrote; files are named without the directories above
    them."""
    several = ["accelerate", "launch", "--num_processes", str(processes()), "-m"] if processes() > 1 else []
    words = [*several, "factcli", "finetune", *model_argument(job.source), "-c", FILE_NAME]
    if job.task.files:
        words += ["--train", job.task.files["train"].name, "--validation", job.task.files["validation"].name]
    elif job.data_dir is not None:
        words += ["--data-dir", "GLUE"]
    return [*words, *(["--trust-remote-code"] if job.trust_remote_code else [])]


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
