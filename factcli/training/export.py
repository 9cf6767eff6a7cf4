"""What a run leaves behind: an export like a converted one, or a native model that stayed dense."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..card.dense import dense_card
from ..card.provenance import calibrated_on, made_with, model_argument, trained_on
from ..card.results import update_results
from ..card.write import make_card
from ..compress.plan import Plan
from ..files.atomic import write_json
from ..files.digests import digest_of_files
from ..files.outputs import Output
from ..models.export import auto_class, write_model
from ..models.loading import Loaded
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN
from ..models.weights import read_weights
from ..recipe.file import FILE_NAME, dump_recipe
from ..scores.results import OF_TRAINING, identify
from .job import Job
from .run import processes

RESULTS = OF_TRAINING


def export(
    job: Job,
    loaded: Loaded,
    output: Output,
    result: dict[str, Any],
    losses: list[tuple[int, float]],
    whole: Job,
    sentences: list[str],
    score: Callable[[PreTrainedModel], None],
) -> None:
    """Write the trained model of a job to `output`, in its precision, reloaded and compared.

    With it go the recipe (how it was made and trained), the card and finetune_results.json (`result` and the losses).
    What they say is of `whole`, the job whose last part `job` may be, and of what was done, a sentence a phase. `score`
    is given the model as it was written, and completes `result`.
    """
    source = job.source
    dtype = job.dtype or (job.recipe.dtype if job.recipe else None) or source.dtype
    device = loaded.model.device
    torch.nn.Module.to(loaded.model, "cpu")
    loaded.model.train(False)
    training = whole.settings.to_dict(**whole.known)
    if whole is job:
        training |= {"learning_rate": result["learning_rate"], "seed": result["seed"]}
    commit, split = whole.settings.data_revision, job.task.validation
    data = trained_on(whole.task, whole.data_dir, commit)
    if whole.recipe is not None and not whole.source.factorized:
        chosen = calibrated_on(whole.recipe, whole.data_dir)
        data |= {key.replace("data", "calibration"): value for key, value in chosen.items()}
    about = made_with(whole.source, whole.recipe, data, sentences)
    texts = {FILE_NAME: dump_recipe(whole.recipe, about, training, whole.trained.to_dict(), job.dtype)}
    command = _command(whole)
    with output.new() as work:
        written = write_model(work, loaded, source, job.plan, texts, job.changes, dtype)
        save_tokenizer_changes(work, job.tokenizer_changes)
        torch.nn.Module.to(written, device)
        score(written)
        weights = read_weights(work, output.shown.name)
        if job.plan is not None:
            plan = whole_plan(job.plan, source, weights.parameters - len(job.plan.factorized))
            sizes = (_bytes_before(plan, source, weights.bytes), weights.bytes)
            head = auto_class(source, source.model_class)
            card = make_card(whole.source, whole.recipe, plan, head, sizes, about, command, training)
        else:
            head = auto_class(source, type(loaded.model))
            card = dense_card(whole.source, head, about, result["task"], command, training)
        (work / "README.md").write_text(card, encoding="utf-8")
        named = {"model": whole.source.provenance()["model"], "output": output.shown.name}  # without directories
        evaluated = {"split": split, "examples": len(job.validation), "weights": digest_of_files(weights.files)}
        evaluated |= identify(job.task, split, job.data_dir, commit) | _task_type(job)
        parts = {"validation": evaluated, "losses": [list(pair) for pair in losses]}
        write_json(work / RESULTS, result | named | parts)
        entry = {k: result[k] for k in ("task", "metrics", "majority")}
        entry |= {k: evaluated[k] for k in ("split", "examples", "task_type") if k in evaluated}
        usual = "text2text-generation" if job.settings.text_to_text else "text-classification"
        tag = _task_type(job).get("task_type", usual)
        update_results(work / "README.md", [entry], output.shown.name, tag)


def _task_type(job: Job) -> dict[str, str]:
    """What the Hub calls what was learnt, where that is not the classification of texts."""
    kind = "token" if job.task.tagging else "class" if job.purpose is None else job.purpose.kind
    names = {EMBEDDING: "sentence-similarity", "token": "token-classification", HIDDEN: "feature-extraction"}
    return {"task_type": names[kind]} if kind in names else {}


def _command(job: Job) -> list[str]:
    """What repeats a training, beside the recipe file that it wrote; files are named without the directories above
    them."""
    several = ["torchrun", "--nproc-per-node", str(processes()), "-m"] if processes() > 1 else []
    words = [*several, "factcli", "finetune", *model_argument(job.source), "-c", FILE_NAME]
    if job.task.files:
        words += ["--train", job.task.paths["train"].name]
        words += ["--validation", job.task.paths["validation"].name] if "validation" in job.task.paths else []
    elif job.data_dir is not None:
        words += ["--data-dir", "GLUE"]
    return [*words, *(["--trust-remote-code"] if job.trust_remote_code else [])]


def save_tokenizer_changes(work: Path, changes: dict[str, Any]) -> None:
    """Put what a tokenizer had to be given (a padding token) into the files that say it in an export."""
    main, earlier = work / "tokenizer_config.json", work / "special_tokens_map.json"
    if changes:
        write_json(main, (json.loads(main.read_text(encoding="utf-8")) if main.is_file() else {}) | changes)
    if "pad_token" in changes and earlier.is_file():
        kept = json.loads(earlier.read_text(encoding="utf-8"))
        write_json(earlier, kept | {"pad_token": changes["pad_token"]})


def whole_plan(plan: Plan, source: Model, after: int) -> Plan:
    """The plan with the parameters of the source's files, and of those that were written."""
    rest = after - plan.targets_after
    before = rest + plan.targets_before if source.factorized else source.stored.parameters
    return replace(plan, parameters_before=before, rest=rest)


def _bytes_before(plan: Plan, source: Model, after: int) -> int:
    """Of the source's files; of one that is factorized, what they were with whole matrices."""
    if not source.factorized:
        return source.stored.bytes
    return round(after * plan.parameters_before / plan.parameters_after)
