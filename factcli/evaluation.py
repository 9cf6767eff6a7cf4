"""evaluate: the metrics of models on a task."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

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
from .data.tables import Table, read_table
from .data.tasks import GLUE, PAIR, TEXT, Task, data_commit, load_split, user_task
from .errors import FactcliError, UsageError
from .memory import memory_advice
from .metrics import compute_metrics, is_failed, majority_score
from .models.fit import LENGTH, Features, Fit, find_fit
from .models.trained import Trained, read_trained
from .notes import note
from .options import Rule, check_values, given, refuse_idle, unless, without_effect
from .prediction import Prompt, encode, encode_answers, label_scorer, labels_of, load_tokenizer, predict
from .scores.results import check_card, identify, keep
from .source import Source, find_source, load_model
from .unchanged import unchanged

if TYPE_CHECKING:
    from datasets import Dataset

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
BATCH_SIZE = 32
LABEL_COLUMN = "label"
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
    max_length: int | None = None,
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
        text_column, label_column, max_length: By default as the model was trained, where it remembers that (a note says
            so); else the columns that are named as usual, and 128 tokens, or as many as the model takes.
        label_names: The task's labels in the order of the models' outputs, for models that do not name them.
        limit: Only the first examples.
        text_to_text: The model answers in words; by default seen from its class.
        update_card: Also put the results into README.md of the models (directories).

    Returns:
        One object a model, as `eval --json` prints it. Its `majority` is the accuracy of the commonest label of what is
        evaluated (there is no training set here), or the micro-F1 of each label's commoner value where examples have
        any number of labels; `failed_run` says that the model's is no higher. A directory also gets them as
        eval_results.json (see scores.results.keep).

    Raises:
        UsageError: Options that do not fit together, or have no effect.
        FactcliError: Anything else that a user can put right, such as labels whose order cannot be told.
    """
    check_values(asked := dict(locals()))
    names = [models] if isinstance(models, str) else list(models)
    if batch_size < 1 or (max_length is not None and max_length < 1):
        raise UsageError("--batch-size and --max-length are at least 1.")
    if (task is None) == (validation is None):
        raise UsageError("Give either --task, for GLUE, or --validation FILE.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} is below 1.")
    refuse_idle(RULES, asked, given(asked))
    text_column, label_names = text_column or (), label_names or ()
    where = pick_device(device)
    sources = [find_source(name, revision, trust_remote_code, accept_factorized=True) for name in names]
    for source in sources if update_card else ():
        check_card(source)
    results = []
    commit = data_commit(GLUE[task], data_dir, data_revision) if task is not None else None
    there = read_table(Path(validation)).names if validation is not None else ()
    for source in sources:
        started = time.perf_counter()
        trained = read_trained(source.path)
        if task is not None:
            chosen = GLUE[task]
        else:
            assert validation is not None
            text, label = columns_of(trained, there, text_column, label_column)
            chosen = file_task(source, validation, text, label, label_names, trained.labels)
        _say_how(source, trained, chosen, there, text_column, label_column, max_length)
        data = load_split(chosen, split, data_dir, limit, commit or data_revision)
        with memory_advice(batch_size, training=False):
            metrics, majority = _measure_source(
                source, chosen, data, trained, label_names, batch_size, max_length, where, text_to_text, progress
            )
        part = {} if limit is None else {"limit": limit}
        result = {
            "model": source.name,
            "task": chosen.name,
            "split": split or chosen.validation,
            "examples": len(data),
            "metrics": metrics,
            "majority": majority,
            "failed_run": is_failed(chosen, metrics, majority),
            "seconds": round(time.perf_counter() - started, 2),
        } | part
        results.append(result)
        about = identify(chosen, split or chosen.validation, data_dir, commit)
        keep(source, {k: v for k, v in result.items() if k != "model"} | about, update_card)
    return results


def columns_of(
    trained: Trained, there: Sequence[str], text_column: Sequence[str], label_column: str | None
) -> tuple[Sequence[str], str]:
    """The columns to read of a user's file, which has those that are `there`: what was given, else what the model was
    trained on, else none for the texts (they are looked for) and LABEL_COLUMN."""
    if not text_column and set(trained.text_column) <= set(there):
        text_column = trained.text_column
    if label_column is None and trained.label_column in there:
        label_column = trained.label_column
    return text_column, label_column or LABEL_COLUMN


def _say_how(
    source: Source,
    trained: Trained,
    task: Task,
    there: Sequence[str],
    text_column: Sequence[str],
    label_column: str | None,
    max_length: int | None,
) -> None:
    """A note on what is read as in training, where something else would be read without it, and on what cannot be."""
    used = []
    if max_length is None and trained.max_length not in (None, LENGTH):
        used.append(f"--max-length {trained.max_length}")
    if task.files and not text_column and trained.text_column:
        usual = tuple(name for name in (TEXT, PAIR) if name in there)
        if task.columns != trained.text_column:
            columns = (", ".join(names) for names in (trained.text_column, task.columns))
            note("{} was trained on other columns ({}): {} is read.".format(source.name, *columns))
        elif task.columns != usual:
            used += [f"--text-column {name!r}" for name in task.columns]
    if task.files and label_column is None and task.label == trained.label_column != LABEL_COLUMN:
        used.append(f"--label-column {task.label!r}")
    if used:
        note(f"{source.name} is measured as it was trained: {' '.join(used)}.")


def file_task(
    source: Source,
    file: str | Path,
    text_column: Sequence[str],
    label_column: str,
    label_names: Sequence[str] = (),
    trained: Sequence[str] = (),
) -> Task:
    """The task of a user's file, with the labels that the model was `trained` on, that it names or that the user names;
    without names, those of the file."""
    count, files = head_size(source.config), {"validation": file}
    names = list(label_names)
    if trained and (not names or sorted(names) == sorted(trained)):
        names = list(trained)  # in the order of that task, on which F1 depends
    if is_text_to_text(source):
        return user_task(files, text_column, label_column, names)
    if count == 1:
        return user_task(files, text_column, label_column, regression=True, numbered=bool(label_names))
    if label_names:
        task = user_task(files, text_column, label_column, list(label_names), numbered=True)
        return task if _has_ids(task) else replace(task, labels=tuple(names))
    names = names or model_labels(source.config)
    if not unnamed(names):
        advice = (
            "give --label-names with the labels of the data in the order of the model's outputs (0,1,... where they "
            "are its ids)"
        )
        return user_task(files, text_column, label_column, names, advice=advice)
    task = user_task(files, text_column, label_column)
    return replace(task, labels=by_output(task, source.config))


def _has_ids(task: Task) -> bool:
    """Whether the labels of a user's table are ids, which count in the order that the user gives, or may be."""
    table = task.files["validation"]
    if task.multi_label or task.label is None or not isinstance(table, Table):
        return True
    found = {str(value).strip() for value in table.values(table.find(task.label, "--label-column", say=False))}
    return any(name[:1].isdigit() for name in found - set(task.labels))


def is_text_to_text(source: Source) -> bool:
    """True for a model that answers in words (T5 with its language model head)."""
    return source.model_class.__name__.endswith("ForConditionalGeneration")


def measure(
    model: PreTrainedModel,
    fit: Fit,
    task: Task,
    features: Sequence[Features],
    batch_size: int,
    words: Sequence[Sequence[int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Predictions (examples,) of a model: output indices, or numbers for a regression; (examples, labels), 1 where the
    sigmoid of an output is above one half, where examples have any number of labels. `words` are the tokens of the
    labels for a model that answers in them."""
    if words is not None:
        scores = predict(model, fit, features, batch_size, label_scorer(model, words), progress)
        return np.asarray(scores.argmax(1))
    outputs = predict(model, fit, features, batch_size, progress=progress)
    if task.multi_label:
        return (outputs > 0).astype(np.int64)
    predictions: NDArray[Any] = outputs[:, 0].astype(np.float64) if task.regression else outputs.argmax(1)
    return predictions


def _measure_source(
    source: Source,
    task: Task,
    data: "Dataset",
    trained: Trained,
    label_names: Sequence[str],
    batch_size: int,
    max_length: int | None,
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
    fit = find_fit(model, tokenizer, source.name, in_words)
    tokens = fit.limit(max_length, task.pair and not in_words, trained=trained.max_length)
    prompt = _prompt(task, trained) if in_words else None
    features = encode(fit, data, tokens.tokens, prompt)
    tokens.say(features)
    fit.fill_empty(features)
    fit.check_ends(features, alike=False)
    words = encode_answers(fit, task.labels, tokens.tokens) if in_words else None
    labels = labels_of(data)
    report = (lambda done, total: progress(done, total, source.name)) if progress else None
    predictions = measure(model, fit, task, features, batch_size, words, report)
    if order is not None:
        predictions = by_class(task, order, predictions)
    elif not (in_words or task.regression):
        check_unnamed_order(task, labels, predictions, source.name)
    return compute_metrics(task, labels, predictions), majority_score(task, labels)


def _prompt(task: Task, trained: Trained) -> Prompt:
    """What a text-to-text model was taught to read, where it remembers; else what T5 was taught of GLUE."""
    if trained.prompt is not None and len(trained.text_column) == len(task.columns):
        return Prompt(trained.prompt, trained.text_column)
    return Prompt.of(task)


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
