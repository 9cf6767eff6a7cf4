"""The check that a model with a smaller vocabulary computes what it did: the same hidden states, bit for bit."""

from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import CheckFailed
from ..models.check import outputs_of, same, sample_inputs
from ..models.loading import align
from ..models.model import Model
from ..notes import note
from .counting import Ints


def check_same(source: Model, found: Model, kept: Ints) -> None:
    """Raises CheckFailed where the base model of `found` gives other hidden states for tokens than that of `source`
    for what they were; `kept` are the rows that stayed, ascending."""
    base: Any = found.outline.model.base_model
    inputs = sample_inputs(base)
    if not inputs:
        return
    rows = torch.from_numpy(kept)
    before = {k: rows[v] if k.endswith("input_ids") else v for k, v in inputs.items()}
    try:
        meant = outputs_of(_base(source), before)
    except Exception as error:  # classes that need other inputs beside tokens fail in ways of their own
        reason = " ".join(str(error).split())[:150]
        note(f"{source.name} does not run on tokens alone, so that hidden states were not compared ({reason}).")
        return
    now = outputs_of(_base(found), inputs)
    if len(meant) != len(now) or not all(_alike(a, b, rows) for a, b in zip(meant, now, strict=True)):
        raise CheckFailed(
            f"{source.name} gives other hidden states with the smaller vocabulary: leave out --vocabulary, and please "
            "report this."
        )


def _alike(meant: Tensor, now: Tensor, rows: Tensor) -> bool:
    """Equal; what is over the vocabulary (of classes that are their own base model) up to how a matrix of another size
    is multiplied."""
    if meant.shape == now.shape or now.shape[-1] != len(rows):
        return same(meant, now)
    return torch.allclose(meant[..., rows].float(), now.float(), rtol=1e-2, atol=1e-2, equal_nan=True)


def _base(source: Model) -> PreTrainedModel:
    model = source.load().model
    align(model)
    base: Any = model.base_model
    return cast("PreTrainedModel", base)
