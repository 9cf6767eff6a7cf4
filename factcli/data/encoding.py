"""From texts to tokens, and which examples go together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FactcliError
from ..models.fit import Features, Fit
from .alignment import encode_words
from .tasks import LABEL, PAIR, TEXT, Task

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Prompt:
    """What the input of a text-to-text model begins with, and what its texts are called in it."""

    name: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, task: Task) -> "Prompt":
        """As T5 was taught GLUE: "mrpc sentence1: … sentence2: …" (Raffel et al. 2020, appendix D)."""
        return cls(task.folder or task.name, task.columns)

    def inputs(self, data: "Dataset") -> list[str]:
        """The whole inputs."""
        texts = [list(data[name]) for name in (TEXT, PAIR)[: len(self.columns)]]
        return [
            " ".join([self.name, *(f"{c}: {t}" for c, t in zip(self.columns, row, strict=True))])
            for row in zip(*texts, strict=True)
        ]


def encode(fit: Fit, data: "Dataset", max_length: int, prompt: Prompt | None = None) -> list[Features]:
    """One entry an example, cut at `max_length` tokens, not padded: what the model takes, of a text (or a pair), or
    with a `prompt` of the input of a text-to-text model; of words, where each of them begins as well.

    Raises FactcliError for tokens that the model does not have.
    """
    if of_words(data):
        return encode_words(fit, list(data[TEXT]), max_length)
    first = prompt.inputs(data) if prompt is not None else list(data[TEXT])
    second = list(data[PAIR]) if prompt is None and PAIR in data.column_names else None
    return fit.features(fit.tokenizer(first, second, truncation=True, max_length=max_length), len(first))


def encode_answers(fit: Fit, labels: Sequence[str], max_length: int) -> list[list[int]]:
    """The tokens of the labels' words, as a text-to-text model answers. Raises FactcliError as `encode`."""
    words: list[list[int]] = fit.tokenizer(text_target=list(labels), truncation=True, max_length=max_length)[
        "input_ids"
    ]
    fit.check_ids(words)
    for label, ids in zip(labels, words, strict=True):
        if not ids:
            raise FactcliError(
                f"The tokenizer of {fit.name} gives no token for the label {label!r}: name it otherwise."
            )
    return words


def of_words(data: "Dataset") -> bool:
    """Whether examples are lists of words."""
    return isinstance(data[0][TEXT], list)


def labels_of(data: "Dataset") -> NDArray[Any]:
    """The labels (examples,): int64 classes or float64 numbers; or (examples, labels), 0 or 1 of int64; of taggers the
    classes of all words, one example after the other, (words,)."""
    if of_words(data):
        return np.concatenate([np.asarray(tags, np.int64) for tags in data[LABEL]])
    labels = np.asarray(list(data[LABEL]))
    return labels.astype(np.int64) if labels.ndim == 2 else labels


def batches(sizes: Sequence[Any], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches, of examples of the same size each, the largest first. Nothing is padded then: whatever a
    model makes of padding, its answer is the one that it gives to a text alone."""
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    for _, group in groupby(order, key=lambda i: sizes[i]):
        alike = list(group)
        yield from (alike[i : i + batch_size] for i in range(0, len(alike), batch_size))


def batches_within(tokens: int, lengths: Sequence[int], kinds: Sequence[Any]) -> Iterator[list[int]]:
    """Indices of batches of one kind each, longest first, with as many in a batch as `tokens` hold with padding, and at
    least one."""
    groups: dict[Any, list[int]] = {}
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        groups.setdefault(kinds[i], []).append(i)
    for group in groups.values():
        while group:
            size = max(1, tokens // max(1, lengths[group[0]]))
            yield group[:size]
            group = group[size:]
