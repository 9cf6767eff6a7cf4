"""Predictions: forward passes in a fixed order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ..data.encoding import batches
from ..errors import FactcliError
from ..models.fit import WORDS, Features, Fit
from ..models.loading import align
from ..progress import tell

Forward = Callable[[dict[str, torch.Tensor]], torch.Tensor]
Run = Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]  # inputs by name -> outputs by name


def predict(
    model: PreTrainedModel | None,
    fit: Fit,
    features: Sequence[Features],
    batch_size: int,
    forward: Forward | None = None,
) -> NDArray[Any]:
    """Outputs of shape (examples, labels), float32, in the order of `features`; the model is left in its mode. Of
    taggers (words, labels): those at the first token of each word that has one.

    `forward` maps a batch to outputs (batch, labels), of a tagger (batch, tokens, labels); by default it is
    the model's logits. It may be that of a file, without a model. Up to rounding an output depends neither on the batch
    size nor on the other examples.

    Raises FactcliError where the model fails on a batch.
    """
    rows: dict[int, NDArray[Any]] = {}
    with at_rest(model, fit) as (logits, device):
        for indices in batches([fit.kind(f["input_ids"]) for f in features], batch_size):
            batch = fit.batch([{k: v for k, v in features[i].items() if k != "labels"} for i in indices], device)
            outputs = _answers(forward or logits, batch, fit.name)
            rows.update((i, _read(features[i], output)) for i, output in zip(indices, outputs, strict=True))
            tell(len(rows), len(features), f"evaluating {fit.name}")
    join = np.concatenate if WORDS in features[0] else np.stack
    return join([rows[i] for i in range(len(features))])


def _read(feature: Features, output: NDArray[Any]) -> NDArray[Any]:
    """What is read of the output for an example."""
    return output[[place for place in feature[WORDS] if place >= 0]] if WORDS in feature else output


@contextmanager
def at_rest(model: PreTrainedModel | None, fit: Fit) -> Iterator[tuple[Forward, torch.device]]:
    """While the body runs the model answers as for each text alone, and learns nothing. Gives the logits of a batch,
    and where to put it."""
    if model is None:
        yield lambda batch: batch["logits"], torch.device("cpu")
        return
    align(model)
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode(), fit.unpadded(model):
            yield lambda batch: model(**batch).logits, next(model.parameters()).device
    finally:
        model.train(training)


def _answers(run: Forward, batch: dict[str, torch.Tensor], name: str) -> NDArray[Any]:
    try:
        return np.asarray(run(batch).float().cpu().numpy())
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # architectures fail in their own ways
        size = " x ".join(map(str, batch["input_ids"].shape))
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(f"{name} fails on {size} tokens with {type(error).__name__}: {reason}") from error


def of_file(run: Run, words: Sequence[Sequence[int]] | None = None, start: int = 0) -> Forward:
    """A `forward` for what a runtime runs: its logits; or as `label_scorer`, where it answers in `words` that begin
    with the token `start`."""

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        given = {name: np.asarray(tensor) for name, tensor in batch.items()}
        size = len(given["input_ids"])
        if words is None:
            return torch.from_numpy(run(given)["logits"])
        scores = []
        for ids in words:
            shifted = np.array([[start, *ids[:-1]]] * size, dtype=np.int64)
            logits = torch.from_numpy(run(given | {"decoder_input_ids": shifted})["logits"])
            target = torch.tensor([ids] * size)
            scores.append(logits.float().log_softmax(-1).gather(-1, target.unsqueeze(-1)).sum((1, 2)))
        return torch.stack(scores, 1)

    return forward


def label_scorer(model: PreTrainedModel, words: Sequence[Sequence[int]]) -> Forward:
    """A `forward` for text-to-text models: the log-probability of each answer's `words` (tokens), (batch, answers)."""

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        size = batch["input_ids"].shape[0]
        encoded = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        scores = []
        for ids in words:
            target = torch.tensor([ids] * size, device=batch["input_ids"].device)
            logits = model(encoder_outputs=encoded, attention_mask=batch["attention_mask"], labels=target).logits
            scores.append(logits.float().log_softmax(-1).gather(-1, target.unsqueeze(-1)).sum((1, 2)))
        return torch.stack(scores, 1)

    return forward
