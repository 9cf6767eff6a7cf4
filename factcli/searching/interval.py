"""How sure a difference of scores is: both models on the same rows, these drawn again and again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FactcliError
from ..scores.evaluating import Exam
from ..scores.exams import Questions
from ..scores.reranking import Reranking
from ..scores.similarity import Similarity

DRAWS = 1000
COVERED = 95  # percent
Ints = NDArray[np.int64]
Scores = Callable[[Ints], float]  # of a choice of rows, by their indices, any number of times each


def scored(exam: Questions, outputs: NDArray[Any], metric: str) -> Scores:
    """The metric as a function of rows. Raises FactcliError for what is no set of
    rows that count alike (rankings, searches, tags)."""
    if isinstance(exam, Similarity):
        pairs, labels = exam.pairs, exam.labels
        return lambda rows: replace(exam, pairs=pairs[rows], labels=labels[rows]).metrics(outputs[rows])[metric]
    if isinstance(exam, Exam) and not (exam.task.tagging or isinstance(exam, Reranking)):
        quick, truth = _quick(exam, outputs, metric), exam.labels
        return lambda rows: replace(quick, labels=truth[rows]).metrics(outputs[rows])[metric]
    raise FactcliError(
        "--max-loss measures classes, numbers and similarities of pairs, row by row: give --keep for rankings and "
        "tags, and measure with 'factcli eval'."
    )


def _quick(exam: Exam, outputs: NDArray[Any], metric: str) -> Exam:
    """One that gives this metric alone, and does not look for the order of labels without names, which takes long where
    it is done for each draw: all rows are looked at here, as `Exam.metrics` does."""
    if exam.order is None and exam.words is None and not exam.task.regression:
        exam.metrics(outputs)
        exam = replace(exam, order=list(range(outputs.shape[1])))
    return replace(exam, task=replace(exam.task, metrics=(metric,)))


def interval(dense: Scores, small: Scores, rows: int, seed: int) -> tuple[float, float]:
    """Between which points of 100 the loss of `small` against `dense` lies on as many other rows, with COVERED percent.

    From DRAWS pairs of draws of `rows` rows with replacement, the same for both models (Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, section 13.3): what is found here is off by chance, and so is what is found there,
    so the percentiles are those of the loss on all rows and the difference of two draws.
    """
    draw = np.random.default_rng(seed)

    def lost(chosen: Ints) -> float:
        return 100 * (dense(chosen) - small(chosen))

    pairs = [[lost(draw.integers(0, rows, rows)) for _ in range(2)] for _ in range(DRAWS)]
    found = lost(np.arange(rows)) + np.subtract(*np.transpose(pairs))
    low, high = np.percentile(found, [(100 - COVERED) / 2, (100 + COVERED) / 2])
    return float(low), float(high)
