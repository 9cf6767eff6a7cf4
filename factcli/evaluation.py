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
from .errors import FactcliError, UsageError
from .labels import check_unnamed_order, head_size, model_labels, named_order, outputs_of_classes, unnamed
from .memory import memory_advice
from .metrics import compute_metrics, is_failed, majority_accuracy
from .options import Rule, check_values, given, refuse_idle, unless, without_effect
from .prediction import encode, label_scorer, labels_of, load_tokenizer, predict, prompts
from .source import Source, find_source, load_model
from .tasks import GLUE, Task, data_commit, load_split, user_task
from .unchanged import unchanged

if TYPE_CHECKING:
    from datasets import Dataset

RESULTS = "eval_results.json"
RULES = (
    Rule(
        ("split", "data_dir", "data_revision"),
        lambda v: unless(v["validation"] is None, "with --validation, a file of your own"),
        "give --task",
    ),
    Rule(
        ("text_column", "label_column"),
        lambda v: unless(v["task"] is None, f"with --task {v['task']}, whose columns are known"),
        "give --validation",
    ),
    Rule(("data_revision",), lambda v: unless(v["data_dir"] is None, "with --data-dir, which is not on the Hub")),
)
BATCH_SIZE, MAX_LENGTH = 32, 128
Progress = Callable[[int, int, str], None]


@unchanged()
def evaluate(
    models: str | Sequence[str],
    *,
    task: str | None = None,
    split: str | None = None,
    data_dir: str | Path | None = None,
    data_revision: str | None = None,
    validation: str | Path | None = None,
    text_column: Sequence[str] | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
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
        evaluated (there is no training set here); `failed_run` says that accuracy is no higher. A directory also gets
        them as eval_results.json, by task and split.

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, such as labels whose order cannot be told.
    """
    check_values(asked := dict(locals()))
    names = [models] if isinstance(models, str) else list(models)
    if batch_size < 1 or max_length < 1:
        raise UsageError("--batch-size and --max-length are at least 1.")
    if (task is None) == (validation is None):
        raise UsageError("Give either --task, for GLUE, or --validation FILE.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} is below 1.")
    refuse_idle(RULES, asked, given(asked))
    text_column, label_column, label_names = text_column or (), label_column or "label", label_names or ()
    where = pick_device(device)
    sources = [find_source(name, revision, trust_remote_code, accept_factorized=True) for name in names]
    if update_card and (on_hub := [source.name for source in sources if source.repo_id is not None]):
        raise FactcliError(f"{on_hub[0]} is on the Hub: --update-card changes cards of local directories.")
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
        return user_task(files, text_column, label_column, regression=True)
    if not unnamed(names):
        return user_task(files, text_column, label_column, names)
    task = user_task(files, text_column, label_column)
    numbers = tuple(str(i) for i in range(count))
    return replace(task, labels=numbers) if set(task.labels) <= set(numbers) else task


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
    """Predictions (examples,) of a model for `data`: output indices, or numbers for a regression."""
    if text_to_text:
        features = encode(tokenizer, data, max_length, prompts(task, data))
        scorer = label_scorer(model, tokenizer, task.labels, max_length)
        scores = predict(model, tokenizer, features, batch_size, scorer, progress)
        return np.asarray(scores.argmax(1))
    outputs = predict(model, tokenizer, encode(tokenizer, data, max_length), batch_size, progress=progress)
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
    if in_words and not is_text_to_text(source):
        raise UsageError(f"{source.name} does not answer in words: leave out --text-to-text.")
    if label_names and (task.regression or (in_words and not task.files)):
        what = "on numbers, which have no names" if task.regression else "for a model that answers in words"
        raise without_effect("--label-names", what)
    if in_words and task.regression:
        raise UsageError(f"{task.name} is a regression, which is not answered in words: leave out --text-to-text.")
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
        predictions = np.argsort(order)[predictions]
    elif not (in_words or task.regression):
        check_unnamed_order(task, labels, predictions, source.name)
    return compute_metrics(task, labels, predictions), majority_accuracy(task, labels)


def _order(source: Source, task: Task, label_names: Sequence[str]) -> list[int] | None:
    """The model's output for each class of the task, None where the model names none."""
    if task.regression:
        if head_size(source.config) != 1:
            raise FactcliError(
                f"{source.name} has a head for {head_size(source.config)} labels but {task.name} is a regression."
            )
        return None
    if label_names:
        return named_order(task, label_names, head_size(source.config))
    return outputs_of_classes(task, source.config, source.name)


def _keep(source: Source, result: dict[str, Any], update_card: bool) -> None:
    """Write eval_results.json, and the card, beside a model that is a directory."""
    if source.repo_id is not None:
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
