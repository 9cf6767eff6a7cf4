"""The order of a model's classes against the order of the data's, by name."""

import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from ..errors import FactcliError
from .tasks import Task

_MANY = 6  # classes from which on not all orders are tried


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

    Case, spaces, "-" and "_" do not matter. Raises FactcliError where the number of classes or the names differ.
    """
    names = model_labels(config)
    if len(names) != len(task.labels):
        raise FactcliError(
            f"{model} has a head for {len(names)} labels ({', '.join(names)}) but {task.name} has {len(task.labels)} "
            f"({', '.join(task.labels)}): take a model of this task, or fine-tune with --new-head."
        )
    if unnamed(names):
        return None
    order = {_plain(name): i for i, name in enumerate(names)}
    if set(order) != {_plain(name) for name in task.labels}:
        raise FactcliError(
            f"{model} calls its labels {', '.join(names)}, but {task.name} has {', '.join(task.labels)}, so their "
            "order is unknown: say --label-names with the task's names in the order of the model's outputs."
        )
    return [order[_plain(name)] for name in task.labels]


def named_order(task: Task, names: Sequence[str], count: int) -> list[int]:
    """As outputs_of_classes, for the names that the user gives in the order of the model's outputs."""
    plain = [_plain(name) for name in names]
    if sorted(plain) != sorted(_plain(n) for n in task.labels) or len(names) != count:
        raise FactcliError(
            f"--label-names {','.join(names)} does not name each label of {task.name} once: {', '.join(task.labels)}."
        )
    return [plain.index(_plain(name)) for name in task.labels]


def check_unnamed_order(task: Task, labels: NDArray[Any], predictions: NDArray[Any], model: str) -> None:
    """For a model that does not name its classes: raises FactcliError where another order of them fits far better.

    `predictions` are output indices. Taking output i for class i is right for most such models; where the numbers
    speak against it by more than chance (four standard errors), reporting them would mislead.
    """
    count = len(task.labels)
    table = np.zeros((count, count), dtype=np.int64)
    np.add.at(table, (predictions, labels), 1)
    as_is = int(np.trace(table))
    if count > _MANY:
        from scipy.optimize import linear_sum_assignment

        outputs, classes = linear_sum_assignment(-table)
        best = tuple(int(c) for _, c in sorted(zip(outputs, classes, strict=True)))
    else:
        best = max(permutations(range(count)), key=lambda order: sum(table[i, c] for i, c in enumerate(order)))
    gain = sum(int(table[i, c]) for i, c in enumerate(best)) - as_is
    majority = int(table.sum(axis=0).max())
    fits = as_is + gain > majority + 2 * np.sqrt(len(labels))  # better than answering one class, not an inverted guess
    if fits and gain > 4 * np.sqrt(len(labels)):
        names = ",".join(task.labels[c] for c in best)
        raise FactcliError(
            f"{model} does not name its labels, and taking output i for label i gives {as_is / len(labels):.1%} where "
            f"another order gives {(as_is + gain) / len(labels):.1%}: say --label-names {names} if that is its order."
        )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).lower()
