"""The order of a model's classes against the order of the data's, by name."""

import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from ..errors import FactcliError, UsageError
from .names import Names
from .tasks import MULTI, REGRESSION, SINGLE, Task

_MANY = 6  # classes from which on not all orders are tried
_ANSWERS = {SINGLE: "one label", MULTI: "any number of labels", REGRESSION: "numbers"}


def model_labels(config: PretrainedConfig) -> list[str]:
    """The names of a model's classes, by output index."""
    names: dict[int, str] = {int(i): str(n) for i, n in (getattr(config, "id2label", None) or {}).items()}
    return [names[i] for i in sorted(names)]


def head_size(config: PretrainedConfig) -> int:
    """The number of a model's outputs: its classes, or 1 for a regression."""
    return int(config.num_labels or 0)


def unnamed(names: Sequence[str]) -> bool:
    """True for LABEL_0, LABEL_1, …: transformers' names for classes that nobody named."""
    return all(re.fullmatch(r"LABEL_\d+", name) for name in names)


def outputs_of_classes(task: Task, config: PretrainedConfig, model: str) -> list[int] | None:
    """For each class of the task the model's output index, matched by name; None where the model names none.

    Case, spaces, "-" and "_" do not matter. Raises FactcliError where the number of classes or the names differ, and as
    `check_problem` does.
    """
    check_problem(task, config, model)

    names = model_labels(config)
    if len(names) != len(task.labels):
        raise FactcliError(
            f"{model} has a head for {len(names)} labels ({', '.join(names)}) but {task.name} has {len(task.labels)} "
            f"({', '.join(task.labels)}): take a model of this task, or fine-tune with --new-head."
        )
    order = _order(task, names)
    if order is None and unnamed(names):
        return None
    if order is None:
        raise FactcliError(
            f"{model} calls its labels {', '.join(names)}, but {task.name} has {', '.join(task.labels)}, so their "
            "order is unknown: say --label-names with the task's names in the order of the model's outputs."
        )
    return order


def check_problem(task: Task, config: PretrainedConfig, model: str) -> None:
    """Raises FactcliError for a model that answers with one label where the task has any number, or the reverse."""
    kind = None if task.tagging else getattr(config, "problem_type", None)  # the class of a tagger says it
    if kind is not None and kind != task.problem_type:
        raise FactcliError(
            f"{model} answers with {_ANSWERS.get(kind, kind)} an example (its problem_type is {kind}) but "
            f"{task.name} has {_ANSWERS[task.problem_type]}: take a model of this task, or fine-tune with --new-head."
        )


def check_words(task: Task) -> None:
    """Raises UsageError for a task that is not answered in words."""
    if task.problem_type != SINGLE:
        kinds = {MULTI: "has any number of labels", REGRESSION: "is a regression"}
        kind = kinds.get(task.problem_type, "has a tag for each word")
        raise UsageError(f"{task.name} {kind}, which is not answered in words: leave out --text-to-text.")


def by_output(task: Task, config: PretrainedConfig) -> tuple[str, ...]:
    """The classes of a task by the outputs of a model that does not name them: where they are numbers, or called
    LABEL_0 and so on, there may be more than the data have."""
    for names in ([str(i) for i in range(head_size(config))], model_labels(config)):
        if task.labels and set(task.labels) <= set(names):
            return tuple(names)
    return task.labels


def by_class(task: Task, outputs: Sequence[int], predictions: NDArray[Any]) -> NDArray[Any]:
    """Predictions by output index, as `measure` gives them, as classes of the task; `outputs` has the model's output
    for each class. With any number of labels they are (examples, labels), else (examples,)."""
    if task.regression:
        return predictions
    return predictions[:, list(outputs)] if task.multi_label else np.argsort(outputs)[predictions]


def named_order(task: Task, names: Sequence[str], count: int) -> list[int]:
    """As outputs_of_classes, for the names that the user gives in the order of the model's outputs."""
    order = _order(task, names) if len(names) == count else None
    if order is None:
        raise FactcliError(
            f"--label-names {','.join(names)} does not name each label of {task.name} once: {', '.join(task.labels)}."
        )
    return order


def check_unnamed_order(task: Task, labels: NDArray[Any], predictions: NDArray[Any], model: str) -> None:
    """For a model that does not name its classes: raises FactcliError where another order of them fits far better.

    `predictions` are output indices (examples,), or 0 and 1 for each output (examples, labels). Taking output i for
    class i is right for most such models; where the numbers speak against it by more than chance (four standard
    errors), reporting them would mislead.
    """
    count = len(task.labels)
    table = np.zeros((count, count), dtype=np.int64)  # how often an output agrees with a class
    if task.multi_label:
        table += predictions.T @ labels + (1 - predictions).T @ (1 - labels)
        majority = int(np.maximum(labels.sum(0), (1 - labels).sum(0)).sum())
    else:
        np.add.at(table, (predictions, labels), 1)
        majority = int(table.sum(axis=0).max())
    as_is = int(np.trace(table))
    if count > _MANY:
        from scipy.optimize import linear_sum_assignment

        outputs, classes = linear_sum_assignment(-table)
        best = tuple(int(c) for _, c in sorted(zip(outputs, classes, strict=True)))
    else:
        best = max(permutations(range(count)), key=lambda order: sum(table[i, c] for i, c in enumerate(order)))
    gain = sum(int(table[i, c]) for i, c in enumerate(best)) - as_is
    fits = as_is + gain > majority + 2 * np.sqrt(labels.size)  # better than answering one class, not an inverted guess
    if fits and gain > 4 * np.sqrt(labels.size):
        names = ",".join(task.labels[c] for c in best)
        raise FactcliError(
            f"{model} does not name its labels, and taking output i for label i gives {as_is / labels.size:.1%} where "
            f"another order gives {(as_is + gain) / labels.size:.1%}: say --label-names {names} if that is its order."
        )


def _order(task: Task, names: Sequence[str]) -> list[int] | None:
    """For each class of the task its place in `names`, None where they are not the same classes."""
    known = Names(names)
    order = [i for name in task.labels if (i := known.index(name)) is not None]
    return order if len(set(order)) == len(names) == len(task.labels) else None
