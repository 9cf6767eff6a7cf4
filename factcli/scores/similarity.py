"""An embedding model, measured on pairs of texts: how similar it finds them, beside numbers or two classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..data.encoding import labels_of
from ..data.names import number
from ..data.tasks import GLUE, PAIR, TEXT, Task, user_task
from ..errors import FactcliError
from ..models.fit import Features, Fit
from ..models.trained import Trained
from ..notes import note
from ..recipe.rules import without_effect
from ..recipe.running import Data
from .embedding import Embedder, of_pairs
from .evaluating import columns_of
from .metrics import compute_metrics, majority_score
from .prediction import Forward, Run

if TYPE_CHECKING:
    from datasets import Dataset

_PLAIN = ({"0", "1"}, {"-1", "1"}, {"false", "true"}, {"no", "yes"})  # which of two is meant needs no word


def pair_task(name: str, how: Data, trained: Trained, there: Sequence[str]) -> Task:
    """The task on which the embedding model `name` is measured by its similarities, with the metrics of these; of a
    user's file, which has the columns `there`, or of GLUE.

    Raises FactcliError for a task that has no pairs, or neither numbers nor two classes.
    """
    if how.task is not None:
        if how.label_names:
            raise without_effect("--label-names", "for an embedding model, which has no outputs to name")
        task = GLUE[how.task]
    else:
        assert how.validation is not None
        text, label = columns_of(trained, there, how.text_column, how.label_column)
        task = _user_pairs(how.validation, text, label, how.label_names)
    if not task.pair:
        raise FactcliError(
            f"{name} embeds texts and has no trained head for {task.name}, whose texts stand alone: take pairs (--task "
            "stsb or mrpc, or a file with two --text-column), --retrieval DIR, or fine-tune it on the task first."
        )
    if task.regression:
        return replace(task, metrics=("spearman", "pearson"))
    if task.multi_label or len(task.labels) != 2:
        classes = "any number of labels" if task.multi_label else f"{len(task.labels)} classes a pair can have"
        raise FactcliError(
            f"{task.name} has {classes}: similarities are measured on pairs with numbers or two classes, such as "
            "--task stsb or mrpc."
        )
    names = [task.labels[1 - positive(task)], task.labels[positive(task)]]
    if task.files and {name.lower() for name in names} not in _PLAIN:
        note(f"{names[1]!r} is taken for pairs that are alike, {names[0]!r} for others: --label-names says otherwise.")
    return replace(task, metrics=("average_precision", "accuracy"))


def _user_pairs(file: str | Path, text: Sequence[str], label: str, names: Sequence[str]) -> Task:
    """Numbers are grades where there are more than two of them."""
    task = user_task({"validation": file}, text, label, names, numbered=bool(names))
    graded = not names and len(task.labels) > 2 and all(number(name) is not None for name in task.labels)
    return user_task({"validation": file}, text, label, regression=True) if graded else task


def positive(task: Task) -> int:
    """The class of pairs that are alike: the second one, but where that is called the first one's opposite."""
    return 0 if task.labels[1] == f"not_{task.labels[0]}" else 1


@dataclass(frozen=True)
class Similarity:
    """The pairs of a task, for an embedding model. `features` are of each text once, `pairs` (examples, 2) which of
    them are compared, `labels` (examples,) classes or numbers."""

    task: Task
    embedder: Embedder
    features: Sequence[Features]
    pairs: NDArray[Any]
    labels: NDArray[Any]

    def outputs(self, model: PreTrainedModel | None, forward: Forward | None = None) -> NDArray[Any]:
        """Similarities (examples,), of the model or of the hidden states that `forward` gives."""
        ours = self.embedder
        if forward is None:
            assert model is not None
            forward = ours.hidden(model)
        vectors = ours.encode(self.features, forward, model, ours.usage.text)
        found: NDArray[Any] = of_pairs(ours.usage.similarity, *(vectors[i].double() for i in self.pairs.T)).numpy()
        return found

    def of_file(self, run: Run) -> Forward:
        """The same questions, asked of what a runtime runs."""
        return self.embedder.of_file(run)

    def metrics(self, outputs: NDArray[Any]) -> dict[str, float]:
        """Of similarities. What is no number counts as least similar."""
        if self.task.regression:
            return compute_metrics(self.task, self.labels, outputs)
        least = np.where(np.isnan(outputs), np.nanmin(outputs, initial=0) - 1, outputs)
        return {"average_precision": _average_precision(self._alike, least), "accuracy": _accuracy(self._alike, least)}

    @property
    def fit(self) -> Fit:
        """Of the model and its tokenizer."""
        return self.embedder.fit

    @property
    def majority(self) -> float | None:
        """The accuracy of always answering alike."""
        return majority_score(self.task, self.labels)

    def failed(self, metrics: dict[str, float]) -> bool:
        """Whether the similarities say nothing: no positive correlation, or an average precision that is no higher than
        the share of pairs that are alike, as a random order has it."""
        if self.task.regression:
            return not metrics["spearman"] > 0
        return not metrics["average_precision"] > float(np.mean(self._alike))

    @property
    def _alike(self) -> NDArray[Any]:
        return np.asarray(self.labels == positive(self.task))


def similarity_of(embedder: Embedder, task: Task, data: "Dataset") -> Similarity:
    """What is asked of an embedding model on a split of a task of pairs. Raises FactcliError where no pair of two
    classes is alike, and for tokens that the model does not have."""
    place: dict[str, int] = {}
    pairs = [[place.setdefault(text, len(place)) for text in pair] for pair in zip(data[TEXT], data[PAIR], strict=True)]
    prompt = embedder.usage.text
    if prompt:
        note(f"{embedder.source.name} reads each text behind the prompt that it names, {prompt!r}.")
    features = embedder.features(list(place), prompt)
    embedder.limit.say(features)
    found = Similarity(task, embedder, features, np.asarray(pairs), labels_of(data))
    if not task.regression and not found._alike.any():
        raise FactcliError(f"No pair of {task.name} has the label {task.labels[positive(task)]!r}: take more of it.")
    return found


def _average_precision(alike: NDArray[Any], similarities: NDArray[Any]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(alike, similarities))


def _accuracy(alike: NDArray[Any], similarities: NDArray[Any]) -> float:
    """At the threshold where it is best; equal similarities are on one side of it."""
    order = np.argsort(-similarities, kind="stable")
    right = np.concatenate([[0], np.cumsum(np.where(alike[order], 1, -1))]) + np.sum(~alike)
    ends = np.concatenate([[True], np.diff(similarities[order]) != 0, [True]])
    return float(right[ends].max() / len(alike))
