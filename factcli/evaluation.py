"""evaluate: the metrics of models on a task."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .card.results import update_results
from .conversion import pick_device
from .data.labels import (
    by_class,
    by_output,
    check_problem,
    check_unnamed_order,
    check_words,
    head_size,
    model_labels,
    named_order,
    outputs_of_classes,
    unnamed,
)
from .data.tasks import GLUE, Task, data_commit, load_split, user_task
from .errors import FactcliError, UsageError
from .memory import memory_advice
from .metrics import compute_metrics, is_failed, majority_score
from .prediction import encode, label_scorer, labels_of, load_tokenizer, predict, prompts
from .source import Source, find_source, load_model

if TYPE_CHECKING:
    from datasets import Dataset

RESULTS = "eval_results.json"
BATCH_SIZE, MAX_LENGTH = 32, 128
Progress = Callable[[int, int, str], None]


def evaluate(
    models: str | Sequence[str],
    *,
    task: str | None = None,
    split: str | None = None,
    data_dir: str | Path | None = None,
    data_revision: str | None = None,
    validation: str | Path | None = None,
    text_column: Sequence[str] = (),
    label_column: str = "label",
    label_names: Sequence[str] = (),
    batch_size: int = BATCH_SIZE,
    max_length: int = MAX_LENGTH,
    limit: int | None = None,
    device: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    text_to_text: bool | None = None,
    update_card: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Metrics of each of `models` (directories or Hub ids, dense or factorized) on a GLUE task or a file.

    Args:
        task: A GLUE task, its data from `data_dir` or the Hub (there from `data_revision`); or else `validation`, a
            file.
        label_names: The task's labels in the order of the models' outputs, for models that do not name them.
        limit: Only the first examples.
        text_to_text: The model answers in words; by default seen from its class.
        update_card: Also put the results into README.md of the models (directories).

    Returns:
        One object a model, as `eval --json` prints it. Its `majority` is the accuracy of the commonest label of what is
        evaluated (there is no training set here), or the micro-F1 of each label's commoner value where examples have
        any number of labels; `failed_run` says that the model's is no higher. A directory also gets them as
        eval_results.json, by task and split.

    Raises:
        FactcliError: Whatever a user can put right, such as labels whose order cannot be told.
    """
    names = [models] if isinstance(models, str) else list(models)
    if batch_size < 1 or max_length < 1:
        raise UsageError("--batch-size and --max-length are at least 1.")
    if (task is None) == (validation is None):
        raise UsageError("Give either --task, for GLUE, or --validation FILE.")
    where = pick_device(device)
    sources = [find_source(name, revision, trust_remote_code, accept_factorized=True) for name in names]
    results = []
    commit = data_commit(GLUE[task], data_dir, data_revision) if task is not None else None
    for source in sources:
        started = time.perf_counter()
        if task is not None:
            chosen = GLUE[task]
        else:
            assert validation is not None
            chosen = file_task(source, validation, text_column, label_column, label_names)
        data = load_split(chosen, split, data_dir, limit, commit or data_revision)
        with memory_advice(batch_size, training=False):
            metrics, majority = _measure_source(
                source, chosen, data, label_names, batch_size, max_length, where, text_to_text, progress
            )
        result = {
            "model": source.name,
            "task": chosen.name,
            "split": split or chosen.validation,
            "examples": len(data),
            "metrics": metrics,
            "majority": majority,
            "failed_run": is_failed(chosen, metrics, majority),
            "seconds": round(time.perf_counter() - started, 2),
        }
        results.append(result)
        _keep(source, result, update_card)
    return results


def file_task(
    source: Source, file: str | Path, text_column: Sequence[str], label_column: str, label_names: Sequence[str] = ()
) -> Task:
    """The task of a user's file, with the labels that the model or the user names; without names, those of the file."""
    count, names = head_size(source.config), list(label_names) or model_labels(source.config)
    files = {"validation": file}
    if is_text_to_text(source):
        return user_task(files, text_column, label_column, label_names)
    if count == 1:
        return user_task(files, text_column, label_column, regression=True, numbered=bool(label_names))
    if label_names:
        return user_task(files, text_column, label_column, names, numbered=True)
    if not unnamed(names):
        advice = (
            "give --label-names with the labels of the data in the order of the model's outputs (0,1,... where they "
            "are its ids)"
        )
        return user_task(files, text_column, label_column, names, advice=advice)
    task = user_task(files, text_column, label_column)
    return replace(task, labels=by_output(task, source.config))


def is_text_to_text(source: Source) -> bool:
    """True for a model that answers in words (T5 with its language model head)."""
    return source.model_class.__name__.endswith("ForConditionalGeneration")


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    data: "Dataset",
    batch_size: int,
    max_length: int,
    text_to_text: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Predictions (examples,) of a model for `data`: output indices, or numbers for a regression; (examples, labels), 1
    where the sigmoid of an output is above one half, where examples have any number of labels."""
    if text_to_text:
        features = encode(tokenizer, data, max_length, prompts(task, data))
        scorer = label_scorer(model, tokenizer, task.labels, max_length)
        scores = predict(model, tokenizer, features, batch_size, scorer, progress)
        return np.asarray(scores.argmax(1))
    outputs = predict(model, tokenizer, encode(tokenizer, data, max_length), batch_size, progress=progress)
    if task.multi_label:
        return (outputs > 0).astype(np.int64)
    predictions: NDArray[Any] = outputs[:, 0].astype(np.float64) if task.regression else outputs.argmax(1)
    return predictions


def _measure_source(
    source: Source,
    task: Task,
    data: "Dataset",
    label_names: Sequence[str],
    batch_size: int,
    max_length: int,
    device: torch.device,
    text_to_text: bool | None,
    progress: Progress | None,
) -> tuple[dict[str, float], float | None]:
    in_words = is_text_to_text(source) if text_to_text is None else text_to_text
    if in_words:
        check_words(task)
    order = None if in_words else _order(source, task, label_names)
    tokenizer = load_tokenizer(source)
    loaded = load_model(source)
    heads = sorted(k for k in loaded.absent if not k.startswith(f"{loaded.model.base_model_prefix}."))
    if heads or not (in_words or source.model_class.__name__.endswith("ForSequenceClassification")):
        raise FactcliError(
            f"{source.name} has no trained head for classification ({source.model_class.__name__}): "
            "fine-tune it on the task first."
        )
    model = loaded.model
    torch.nn.Module.to(model, device)
    labels = labels_of(data)
    report = (lambda done, total: progress(done, total, source.name)) if progress else None
    predictions = measure(model, tokenizer, task, data, batch_size, max_length, in_words, report)
    if order is not None:
        predictions = by_class(task, order, predictions)
    elif not (in_words or task.regression):
        check_unnamed_order(task, labels, predictions, source.name)
    return compute_metrics(task, labels, predictions), majority_score(task, labels)


def _order(source: Source, task: Task, label_names: Sequence[str]) -> list[int] | None:
    """The model's output for each class of the task, None where the model names none."""
    if task.regression:
        if head_size(source.config) != 1:
            raise FactcliError(
                f"{source.name} has a head for {head_size(source.config)} labels but {task.name} is a regression."
            )
        return None
    if label_names:
        check_problem(task, source.config, source.name)
        return named_order(task, label_names, head_size(source.config))
    return outputs_of_classes(task, source.config, source.name)


def _keep(source: Source, result: dict[str, Any], update_card: bool) -> None:
    """Write eval_results.json, and the card, beside a model that is a directory."""
    if source.repo_id is not None:
        if update_card:
            raise FactcliError(f"{source.name} is on the Hub: --update-card changes cards of local directories.")
        return
    entry = {k: v for k, v in result.items() if k != "model"}
    file = source.path / RESULTS
    kept = _kept(file)
    kept = [r for r in kept if (r.get("task"), r.get("split")) != (result["task"], result["split"])] + [entry]
    try:
        part = file.with_suffix(".json.partial")
        part.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        part.replace(file)
        if update_card:
            update_results(source.path / "README.md", kept)
    except OSError as error:
        raise FactcliError(f"{file} cannot be written ({error.strerror}): the results stand on stdout only.") from error


def _kept(file: Path) -> list[dict[str, Any]]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []
