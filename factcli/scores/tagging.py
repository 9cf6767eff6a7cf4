"""Taggers, measured: what they are asked, and precision, recall and F1 of the spans that tags mark, by seqeval."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.labels import head_size, model_labels, unnamed
from ..data.schemes import OUTSIDE, in_bioes
from ..data.tasks import Task, user_task
from ..errors import FactcliError
from ..models.fit import WORDS, Features
from ..models.model import Model

NAME_THEM = "give --label-names with the tags in the order of the model's outputs"


def is_tagger(source: Model) -> bool:
    """True for a model with a head that gives every token a tag."""
    return source.model_class.__name__.endswith("ForTokenClassification")


def tags_of(source: Model) -> tuple[str, ...]:
    """The tags of a tagger, by output; none of other models, and of one that does not name them."""
    names = model_labels(source.config) if is_tagger(source) else []
    return () if unnamed(names) else tuple(names)


def tagger_task(
    source: Model, files: Mapping[str, str | Path], text_column: Sequence[str], label_column: str, names: Sequence[str]
) -> Task:
    """The task of a user's file for a tagger, with the tags that the user `names` or the model does.

    Raises FactcliError where neither does for every output, and for a file without lists of words.
    """
    names = tuple(names) or tags_of(source)
    if not names:
        raise FactcliError(f"{source.name} does not name its tags: {NAME_THEM}.")
    if len(names) != head_size(source.config):
        raise FactcliError(
            f"{source.name} has {head_size(source.config)} outputs and --label-names names {len(names)} tags: "
            "name each output once, in their order."
        )
    task = user_task(files, text_column, label_column, names, False, numbered=True, advice=NAME_THEM)
    if not task.tagging:
        raise FactcliError(
            f"{source.name} tags words, and {', '.join(map(str, files.values()))} has texts in column "
            f"{task.columns[0]!r}: give lists of words, and of a tag for each."
        )
    return task


def of_all_words(task: Task, predictions: NDArray[Any], features: Sequence[Features]) -> NDArray[Any]:
    """The class of each word (words,), of predictions (read,) for those that the model has read; the others count as
    outside of any span, or as no class (-1) where the task has none for that."""
    places = np.concatenate([np.asarray(f[WORDS], np.int64) for f in features])
    outside = task.labels.index(OUTSIDE) if OUTSIDE in task.labels else -1
    found = np.full(len(places), outside)
    found[places >= 0] = predictions
    return found


def span_scores(
    tags: Sequence[str], labels: NDArray[Any], predictions: NDArray[Any], sizes: Sequence[int]
) -> dict[str, float]:
    """Precision, recall and F1 of whole spans, with their kind, as conlleval counts them: a span may begin with I-.

    `labels` and `predictions` (words,) are places among the `tags`, -1 for outside; `sizes` the words of each example.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    names = [*map(in_bioes, tags), OUTSIDE]  # the last one is that of -1
    ends = np.cumsum(sizes)[:-1]
    true, found = ([[names[i] for i in part] for part in np.split(ids, ends)] for ids in (labels, predictions))
    scores = precision_recall_fscore_support(true, found, average="micro", zero_division=0)
    return {name: float(value) for name, value in zip(("precision", "recall", "f1"), scores, strict=False)}
