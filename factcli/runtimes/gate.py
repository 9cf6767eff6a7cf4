"""A file beside the model that it was made from: how far their answers are apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = dict[str, NDArray[Any]]  # by the names of a graph's outputs


def difference(model: Sequence[Answers], file: Sequence[Answers]) -> tuple[float, float]:
    """The largest difference of any output over all batches, and the largest output of the model. What is no number
    counts as infinite."""
    most = largest = 0.0
    for ours, theirs in zip(model, file, strict=True):
        for name, value in ours.items():
            apart = np.abs(value.astype(np.float64) - theirs[name])
            most = max(most, float(np.nan_to_num(apart, nan=np.inf).max()))
            largest = max(largest, float(np.abs(value).max()))
    return most, largest


def agreement(model: Sequence[Answers], file: Sequence[Answers], multi_label: bool = False) -> float:
    """How far predictions are the same, from 0 to 1: the share of the same labels, of texts or of tokens; of a single
    number the correlation over all texts, and of embeddings their mean cosine, where not below 0."""
    names = list(model[0])
    pairs = [(m[name], f[name]) for name in names for m, f in zip(model, file, strict=True)]
    if names == ["last_hidden_state"]:
        return _cosine(pairs)
    if names == ["logits"] and pairs[0][0].shape[-1] == 1:
        ours, theirs = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
        if np.array_equal(ours, theirs):
            return 1.0
        with np.errstate(invalid="ignore"):  # what does not vary has no correlation
            return max(0.0, float(np.nan_to_num(np.corrcoef(ours, theirs)[0, 1]))) if len(ours) > 1 else 0.0
    same = [((m > 0) == (f > 0)) if multi_label else (m.argmax(-1) == f.argmax(-1)) for m, f in pairs]
    return float(np.concatenate([s.ravel() for s in same]).mean())


def _cosine(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """Of the mean over tokens, as most embedding models take it; texts of a batch are of the same length."""
    found = []
    for ours, theirs in pairs:
        a, b = ours.mean(1).astype(np.float64), theirs.mean(1).astype(np.float64)
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        found.append((a * b).sum(-1) / np.where(lengths == 0, 1, lengths))
    return max(0.0, float(np.nan_to_num(np.concatenate(found)).mean()))
