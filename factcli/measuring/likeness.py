"""How like two models are where there are no labels: what they answer to the same texts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import FactcliError
from ..models.fit import Features, Fit
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, decodes, find_purpose
from ..models.vectors import Vectors
from ..runtimes.running import open_file
from ..scores.evaluating import BATCH_SIZE
from ..scores.prediction import Forward, Run, predict

Answers = NDArray[Any]  # (texts, k): vectors, one number, or the choice of a text or of each of its tokens
Alike = Callable[[NDArray[np.int64]], float]  # of a choice of texts, by their indices
_NAMES = {EMBEDDING: "cosine", HIDDEN: "cosine", "number": "correlation"}
_TOKENS = ("token", "masked", "next")
NOTHING = -1  # the choice at what is no token


def compared_by(source: Model) -> Purpose:
    """What the answers are that models are compared by: those of the model, or hidden states, pooled by their mean.

    Raises FactcliError for a model whose answers are no vectors, numbers or choices.
    """
    purpose = find_purpose(source)
    if purpose.kind in ("text", "span") or decodes(source.model_class):
        raise FactcliError(
            f"{source.name} {purpose}: without labels vectors, numbers, and choices of texts or tokens are compared. "
            "Give data with labels."
        )
    return Purpose(HIDDEN, Vectors(normalized=False)) if purpose.kind == HIDDEN else purpose


def metric_of(purpose: Purpose) -> str:
    """What the likeness of models with this purpose is called: the mean cosine of vectors, Pearson's correlation of
    numbers, the agreement on choices (the share that is the same, of texts or of tokens)."""
    return _NAMES.get(purpose.kind, "agreement")


def alike(kind: str, dense: Answers, small: Answers) -> Alike:
    """The likeness of answers (texts, k) to those of the dense model, over a choice of texts: a mean of cosines or of
    shares of the same answers, or Pearson's correlation of numbers."""
    if kind == "number":
        return lambda rows: _correlation(dense[rows, 0], small[rows, 0])
    if kind in (EMBEDDING, HIDDEN):
        lengths = np.linalg.norm(dense, axis=1) * np.linalg.norm(small, axis=1)
        each = (dense * small).sum(1) / np.maximum(lengths, 1e-12)
    else:
        there = dense != NOTHING
        each = ((dense == small) & there).sum(1) / there.sum(1)
    return lambda rows: float(np.mean(each[rows]))


def _correlation(a: Answers, b: Answers) -> float:
    """Pearson's; 0 where either is the same for all."""
    if not np.ptp(a) > 0 or not np.ptp(b) > 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def answered(
    small: Model,
    fit: Fit,
    purpose: Purpose,
    features: Sequence[Features],
    file: tuple[str, Path] | None,
    model: Any = None,
    device: torch.device | None = None,
) -> Answers:
    """What a model (`model`, where it is loaded) answers to each text in the precision that it is stored in, on a
    device (None: the CPU), or its file for a backend: (texts, k)."""
    longest = max(len(f["input_ids"]) for f in features)
    if file is None:
        loaded = model or small.load().model
        torch.nn.Module.to(loaded, device or torch.device("cpu"))
        return predict(loaded, fit, features, BATCH_SIZE, _of_model(loaded, purpose, longest))
    return predict(None, fit, features, BATCH_SIZE, _of_file(open_file(*file).run, purpose, longest))


def _of_model(model: Any, purpose: Purpose, longest: int) -> Forward:
    vectors = purpose.vectors

    def forward(batch: dict[str, Tensor]) -> Tensor:
        if vectors is not None:
            return vectors(model.base_model(**batch).last_hidden_state.float(), _mask(batch))
        return _choice(purpose.kind, model(**batch).logits.float(), _mask(batch), longest)

    return forward


def _of_file(run: Run, purpose: Purpose, longest: int) -> Forward:
    def forward(batch: dict[str, Tensor]) -> Tensor:
        found = {k: torch.from_numpy(v) for k, v in run({k: t.numpy() for k, t in batch.items()}).items()}
        if purpose.vectors is not None:
            return purpose.vectors(found["last_hidden_state"].float(), _mask(batch))
        return _choice(purpose.kind, found["logits"].float(), _mask(batch), longest)

    return forward


def _choice(kind: str, logits: Tensor, mask: Tensor, longest: int) -> Tensor:
    """Of logits (B, K), of tokens (B, T, K): the choice, (B, 1) or (B, longest); the labels (B, K); or the number."""
    if kind == "number":
        return logits.reshape(len(logits), -1)[:, :1]
    if kind == "labels":
        return logits > 0
    if kind not in _TOKENS:
        return logits.argmax(-1, keepdim=True)
    chosen = torch.where(mask.bool(), logits.argmax(-1), NOTHING)
    return torch.nn.functional.pad(chosen, (0, longest - chosen.shape[1]), value=NOTHING)


def _mask(batch: dict[str, Tensor]) -> Tensor:
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
