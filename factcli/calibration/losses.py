"""The loss whose gradients make the Fisher information, for every kind of head.

The Fisher information is the second moment of the gradients of log p(y | x) under the model's own p. For a softmax
with probabilities p over K classes the gradient with respect to the logits has the second moment
F = diag(p) - p p^T. A label drawn from p gives it in expectation, but a confident model almost never draws the label
that matters. F is also B B^T with B = diag(sqrt p) Q, Q (K, K - 1) an orthonormal basis of what is orthogonal to
sqrt p, so that the direction v = B s, with random signs s, has the very same second moment and a far smaller spread
(none at all for two classes). So heads with one prediction an example take that direction; heads with one prediction a
token, whose many draws average out, take labels from p. Pseudo-losses are linear in the logits, so that one backward
pass gives J^T v.

Every draw comes from a generator seeded by the example's own tokens: neither the order of the data nor the batches
matter.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import FactcliError
from ..models.purpose import Purpose

MASKED = 0.15  # of the tokens, as in BERT's pre-training


@dataclass(frozen=True)
class Example:
    """The tokens of one text (or pair), token types where the tokenizer has them, and the label if there is one: a
    class or number, or 0 or 1 for each output."""

    ids: tuple[int, ...]
    types: tuple[int, ...] | None = None
    label: float | tuple[float, ...] | None = None

    def generator(self, seed: int, *use: str) -> torch.Generator:
        """Random numbers of this example, for one use: they depend on its tokens and the seed alone."""
        digest = hashlib.sha256(repr((seed, self.ids, self.types, *use)).encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def decoder_inputs(model: PreTrainedModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text itself, shifted by one, for the decoder of an encoder-decoder model; nothing for others."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return {}
    start = model.config.decoder_start_token_id
    if start is None:
        start = model.config.pad_token_id or 0
    ids = batch["input_ids"]
    shifted = torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], 1)
    return {"decoder_input_ids": shifted, "decoder_attention_mask": batch["attention_mask"]}


def mask_tokens(
    ids: Tensor, mask: Tensor, special: Tensor, mask_id: int, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """`ids` (B, T) with a share MASKED of the tokens that are not special replaced, and where (at least one a row)."""
    chosen = torch.zeros_like(mask, dtype=torch.bool)
    for row, generator in enumerate(generators):
        free = torch.nonzero(mask[row].bool() & ~special[row])[:, 0]
        if len(free):
            count = max(1, round(MASKED * len(free)))
            chosen[row, free[torch.randperm(len(free), generator=generator)[:count]]] = True
    return ids.masked_fill(chosen, mask_id), chosen


def pseudo_loss(
    purpose: Purpose,
    output: Any,
    batch: dict[str, Tensor],
    chosen: Tensor | None,
    labels: Tensor | None,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """The sum over the batch of a loss whose gradients have the Fisher information as their second moment.

    `chosen` (B, T) are the masked tokens of a "masked" head, with their true tokens in `batch["labels"]`. `labels` are
    the true ones for the empirical Fisher information, None to sample.

    Raises FactcliError for labels that the head cannot take.
    """
    mask = batch["attention_mask"].bool()
    match purpose.kind:
        case "hidden":
            hidden: Tensor = output[0]
            signs = torch.stack([_signs((hidden.shape[1], hidden.shape[2]), g) for g in generators]).to(hidden)
            return (hidden * signs * mask.unsqueeze(-1)).sum()
        case "embedding":
            assert purpose.vectors is not None
            vectors = purpose.vectors(output[0].float(), batch["attention_mask"])
            return (vectors * torch.stack([_signs((vectors.shape[-1],), g) for g in generators]).to(vectors)).sum()
        case "class":
            logits: Tensor = output.logits.float()
            if labels is not None:
                _check_labels(labels, logits.shape[-1])
                return torch.nn.functional.cross_entropy(logits, labels.long(), reduction="sum")
            return (logits * _direction(logits, generators)).sum()
        case "number":
            values: Tensor = output.logits.float()
            if labels is None:
                return (values * torch.stack([_signs((values.shape[-1],), g) for g in generators]).to(values)).sum()
            if values.shape[-1] > 1:
                raise FactcliError("--fisher empirical cannot read several numbers an example: take --fisher sampled.")
            return 0.5 * (values[:, 0] - labels.float()).square().sum()
        case "labels":
            logits = output.logits.float()
            if labels is not None:
                return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="sum")
            p = logits.detach().sigmoid()
            signs = torch.stack([_signs((p.shape[-1],), g) for g in generators]).to(p)
            return (logits * signs * (p * (1 - p)).sqrt()).sum()
        case "span":
            if labels is not None:
                raise FactcliError("--fisher empirical cannot read answer spans: take --fisher sampled.")
            sizes = mask.sum(1).tolist()
            both = [t.float().masked_fill(~mask, -1e9) for t in (output.start_logits, output.end_logits)]
            return torch.stack([(t * _direction(t, generators, sizes)).masked_fill(~mask, 0).sum() for t in both]).sum()
    logits = output.logits if hasattr(output, "logits") else output.prediction_logits
    true = None
    if purpose.kind == "masked":
        where, true = chosen, batch["labels"]
    elif purpose.kind == "next":
        where = mask & torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        true = torch.cat([batch["input_ids"][:, 1:], batch["input_ids"][:, :1]], 1)
    else:
        where, true = mask, batch["input_ids"] if purpose.kind == "text" else None
    if labels is not None and purpose.kind == "token":
        raise FactcliError("--fisher empirical cannot read a label for each token: take --fisher sampled.")
    assert where is not None
    return _token_loss(logits, where, true if labels is not None else None, generators)


def _token_loss(logits: Tensor, where: Tensor, true: Tensor | None, generators: Sequence[torch.Generator]) -> Tensor:
    targets = []
    for row, generator in enumerate(generators):
        at = torch.nonzero(where[row])[:, 0]
        if true is not None:
            targets.append(true[row, at])
        elif len(at):
            cumulative = logits[row, at].detach().double().softmax(-1).cumsum(-1)
            draws = torch.rand((len(at), 1), generator=generator, dtype=torch.float64).to(cumulative.device)
            targets.append(torch.searchsorted(cumulative, draws * cumulative[:, -1:])[:, 0])
    if not targets:  # nothing to predict in texts as short as this
        return logits.sum() * 0
    # Row after row, as the boolean index below takes them.
    return torch.nn.functional.cross_entropy(logits[where].float(), torch.cat(targets).long(), reduction="sum")


def _direction(logits: Tensor, generators: Sequence[torch.Generator], sizes: Sequence[int] | None = None) -> Tensor:
    """Directions (B, K) whose second moment is diag(p) - p p^T; the first `sizes` classes of a row are there at all.

    Q is the Householder reflection that takes the first axis to -sqrt p, without its first column.
    """
    root = logits.detach().softmax(-1).sqrt()
    signs = torch.zeros_like(root)
    for row, generator in enumerate(generators):
        size = sizes[row] if sizes is not None else root.shape[-1]
        signs[row, 1:size] = _signs((size - 1,), generator).to(root)
    axis = root.clone()
    axis[:, 0] += 1
    reflected = signs - axis * (axis * signs).sum(-1, keepdim=True) / (1 + root[:, :1])
    return root * reflected


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    # Drawn in order from the first token on, so that padding behind it changes nothing.
    return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1


def _check_labels(labels: Tensor, classes: int) -> None:
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise FactcliError(
            f"The calibration data have the label {int(labels.max())}, the model has {classes} classes: take "
            "--fisher sampled or the data that the model was trained on."
        )
