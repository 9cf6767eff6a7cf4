"""Scores of predictions, from scikit-learn and SciPy, and what a run must beat."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tasks import SPANS, Task
from ..models.fit import WORDS, Features
from .tagging import of_all_words, span_scores

Values = NDArray[Any]


def _f1(labels: Values, predictions: Values) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))  # of class 1


def _macro_f1(labels: Values, predictions: Values) -> float:
    from sklearn.metrics import f1_score

    classes = None
    if labels.ndim == 1:
        classes = np.union1d(labels, predictions)
        classes = classes[classes >= 0]  # -1: no answer
    return float(f1_score(labels, predictions, labels=classes, average="macro", zero_division=0))


def _micro_f1(labels: Values, predictions: Values) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="micro", zero_division=0))


def _accuracy(labels: Values, predictions: Values) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def _matthews(labels: Values, predictions: Values) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _pearson(labels: Values, predictions: Values) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, labels, predictions)


def _spearman(labels: Values, predictions: Values) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, labels, predictions)


def _correlation(function: Callable[..., Any], labels: Values, predictions: Values) -> float:
    if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(predictions) == 0 or not np.isfinite(predictions).all():
        return 0.0  # undefined for constants: nothing was learnt
    return float(function(labels, predictions).statistic)


METRICS: dict[str, Callable[[Values, Values], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "subset_accuracy": _accuracy,  # of all labels of an example at once
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}


def compute_metrics(
    task: Task, labels: Values, predictions: Values, features: Sequence[Features] = ()
) -> dict[str, float]:
    """The task's metrics, fractions of one, for `labels` and `predictions` of shape (examples,): class indices, or
    numbers for a regression; of shape (examples, labels), 0 or 1, where examples have any number of labels. A
    correlation with a constant is 0.

    Of a tagger the `labels` are of all words and the predictions of those that it has read, as the `features` say;
    spans are scored as such."""
    if task.tagging:
        predictions = of_all_words(task, predictions, features)
    if task.metrics != SPANS:
        return {name: METRICS[name](labels, predictions) for name in task.metrics}
    scores = span_scores(task.labels, labels, predictions, [len(f[WORDS]) for f in features])
    scores["accuracy"] = _accuracy(labels, predictions)
    return {name: scores[name] for name in task.metrics}


def majority_score(task: Task, labels: Values, train_labels: Values | None = None) -> float | None:
    """Accuracy on `labels` of always answering the commonest class: of `train_labels` where there is a training set
    (the seed paper's majority classifier), else of `labels` itself. With any number of labels an example, the micro-F1
    of always answering each label's commoner value (0 where none is in half of the examples). None for a regression."""
    if task.regression:
        return None
    if task.multi_label:
        shares = np.mean(labels if train_labels is None else train_labels, axis=0)
        return _micro_f1(labels, np.broadcast_to((shares > 0.5).astype(labels.dtype), labels.shape))
    counts = np.bincount(labels if train_labels is None else train_labels, minlength=len(task.labels))
    return float(np.mean(labels == int(counts.argmax())))


def is_failed(task: Task, metrics: dict[str, float], majority: float | None) -> bool:
    """A failed run by the seed paper's rule (section 3): accuracy at or below the majority classifier's. For what the
    paper does not have: micro-F1 at or below it with any number of labels, no positive correlation for a regression, no
    span that is right for a tagger."""
    if majority is None:
        return not metrics["pearson"] > 0
    score = metrics["micro_f1" if task.multi_label else "accuracy"]
    return not score > majority or math.isnan(score) or (task.metrics == SPANS and not metrics["f1"] > 0)
