"""A model, measured on a task: its predictions on the task's examples, and what they score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..data.alignment import say_unread
from ..data.encoding import Prompt, encode, encode_answers, labels_of
from ..data.labels import (
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
from ..data.tables import Table
from ..data.tasks import GLUE, Task, data_commit, user_task
from ..errors import FactcliError, UsageError
from ..models.fit import Features, Fit, find_fit
from ..models.model import Model
from ..models.trained import Trained
from ..recipe.rules import without_effect
from ..recipe.running import Data
from .metrics import compute_metrics, is_failed, majority_score
from .prediction import Forward, Run, label_scorer, of_file, predict
from .tagging import is_tagger, tagger_task

if TYPE_CHECKING:
    from datasets import Dataset


BATCH_SIZE = 32
LABEL_COLUMN = "label"


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


def chosen_task(source: Model, how: Data, trained: Trained, there: Sequence[str]) -> Task:
    """The task of GLUE; or that of a user's file, which has the columns `there`."""
    if how.task is not None:
        return GLUE[how.task]
    assert how.validation is not None
    text, label = columns_of(trained, there, how.text_column, how.label_column)
    return file_task(source, how.validation, text, label, how.label_names, trained.labels)


def commit_of_task(how: Data) -> str | None:
    """The commit of the data of a task that is on the Hub."""
    return data_commit(GLUE[how.task], how.data_dir, how.data_revision) if how.task is not None else None


def file_task(
    source: Model,
    file: str | Path,
    text_column: Sequence[str],
    label_column: str,
    label_names: Sequence[str] = (),
    trained: Sequence[str] = (),
) -> Task:
    """The task of a user's file, with the labels that the model was `trained` on, that it names or that the user names;
    without names, those of the file."""
    count, files = head_size(source.config), {"validation": file}
    if is_tagger(source):
        return tagger_task(source, files, text_column, label_column, label_names)
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


def is_text_to_text(source: Model) -> bool:
    """True for a model that answers in words (T5 with its language model head)."""
    return source.model_class.__name__.endswith("ForConditionalGeneration")


def measure(
    model: PreTrainedModel,
    fit: Fit,
    task: Task,
    features: Sequence[Features],
    batch_size: int,
    words: Sequence[Sequence[int]] | None = None,
) -> NDArray[Any]:
    """Predictions (examples,) of a model: output indices (of a tagger for each word that it reads), or numbers for a
    regression; (examples, labels), 1 where the sigmoid of an output is above one half, where examples have any number
    of labels. `words` are the tokens of the labels for a model that answers in them."""
    forward = None if words is None else label_scorer(model, words)
    return predictions_of(task, predict(model, fit, features, batch_size, forward), words is not None)


def predictions_of(task: Task, outputs: NDArray[Any], in_words: bool = False) -> NDArray[Any]:
    """Of outputs (examples, outputs): see `measure`."""
    if in_words:
        return np.asarray(outputs.argmax(1))
    if task.multi_label:
        return (outputs > 0).astype(np.int64)
    predictions: NDArray[Any] = outputs[:, 0].astype(np.float64) if task.regression else outputs.argmax(1)
    return predictions


@dataclass(frozen=True)
class Exam:
    """The examples of a task as a model reads them, and how its answers are marked.

    `words` are the tokens of the labels for a model that answers in them; `order` is its output for each class, None
    where it names none.
    """

    source: Model
    task: Task
    fit: Fit
    features: Sequence[Features]
    labels: NDArray[Any]
    words: Sequence[Sequence[int]] | None
    order: list[int] | None
    batch_size: int

    def outputs(self, model: PreTrainedModel | None, forward: Forward | None = None) -> NDArray[Any]:
        """The answers (examples, outputs) of the model, or of whatever `forward` runs."""
        if forward is None and self.words is not None and model is not None:
            forward = label_scorer(model, self.words)
        return predict(model, self.fit, self.features, self.batch_size, forward)

    def of_file(self, run: Run) -> Forward:
        """The same questions, asked of what a runtime runs."""
        start = getattr(self.source.config, "decoder_start_token_id", None) or 0
        return of_file(run, self.words, start)

    def metrics(self, outputs: NDArray[Any]) -> dict[str, float]:
        """Of answers. Raises FactcliError where it cannot be told which output is which label."""
        predictions = predictions_of(self.task, outputs, self.words is not None)
        if self.order is not None:
            predictions = by_class(self.task, self.order, predictions)
        elif self.words is None and not self.task.regression:
            check_unnamed_order(self.task, self.labels, predictions, self.source.name)
        return compute_metrics(self.task, self.labels, predictions, self.features)

    @property
    def majority(self) -> float | None:
        """The score of always answering alike."""
        return majority_score(self.task, self.labels)

    def failed(self, metrics: dict[str, float]) -> bool:
        """See `is_failed`."""
        return is_failed(self.task, metrics, self.majority)


def exam_of(
    source: Model,
    task: Task,
    data: "Dataset",
    trained: Trained,
    how: Data,
    model: PreTrainedModel,
    absent: Sequence[str],
) -> Exam:
    """What `model`, which may be on the meta device, is asked; its head is among the `absent` weights where it has
    none. Raises FactcliError where they do not fit together."""
    in_words = is_text_to_text(source) if how.text_to_text is None else how.text_to_text
    if in_words and not is_text_to_text(source):
        raise UsageError(f"{source.name} does not answer in words: leave out --text-to-text.")
    if how.label_names and (task.regression or (in_words and not task.files)):
        what = "on numbers, which have no names" if task.regression else "for a model that answers in words"
        raise without_effect("--label-names", what)
    if in_words:
        check_words(task)
    heads = sorted(k for k in absent if not k.startswith(f"{model.base_model_prefix}."))
    if heads or not (in_words or source.model_class.__name__.endswith(task.head)):
        what = "tags of words" if task.tagging else "classification"
        raise FactcliError(
            f"{source.name} has no trained head for {what} ({source.model_class.__name__}): "
            "fine-tune it on the task first."
        )
    order = None if in_words else _order(source, task, how.label_names)
    fit = find_fit(model, source.tokenizer, source.name, in_words)
    tokens = fit.limit(how.max_length, task.pair and not in_words, trained=trained.max_length)
    prompt = _prompt(task, trained) if in_words else None
    features = encode(fit, data, tokens.tokens, prompt)
    tokens.say(features)
    say_unread(features, tokens.tokens, source.name, "count as outside of any span, or as wrong")
    fit.fill_empty(features)
    fit.check_ends(features, alike=False)
    words = encode_answers(fit, task.labels, tokens.tokens) if in_words else None
    return Exam(source, task, fit, features, labels_of(data), words, order, how.batch_size)


def _prompt(task: Task, trained: Trained) -> Prompt:
    """What a text-to-text model was taught to read, where it remembers; else what T5 was taught of GLUE."""
    if trained.prompt is not None and len(trained.text_column) == len(task.columns):
        return Prompt(trained.prompt, trained.text_column)
    return Prompt.of(task)


def _order(source: Model, task: Task, label_names: Sequence[str]) -> list[int] | None:
    """The model's output for each class of the task, None where the model names none."""
    if task.regression:
        if head_size(source.config) != 1:
            raise FactcliError(
                f"{source.name} has a head for {head_size(source.config)} labels but {task.name} is a regression: "
                "take a model of this task, or fine-tune with --new-head."
            )
        return None
    if label_names:
        check_problem(task, source.config, source.name)
        return named_order(task, label_names, head_size(source.config))
    return outputs_of_classes(task, source.config, source.name)
