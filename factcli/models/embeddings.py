"""The embedding of a model's tokens as a target, and what shares its matrix."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import FactcliError
from .loading import Loaded
from .targets import Lookup, Target


def token_embedding(found: Loaded) -> Target:
    """The token embedding of a model, named relative to its base model, by the name that its files have.

    Raises FactcliError where it is none, or is used in ways that a product cannot serve.
    """
    model: Any = found.model
    base, what = model.base_model, type(model).__name__
    try:
        module = base.get_input_embeddings()
    except NotImplementedError:  # half of an architecture, such as a decoder alone
        module = None
    name = next((n for n, m in base.named_modules() if m is module), None)
    if name is None or not isinstance(module, nn.Embedding) or not _plain(module):
        raise FactcliError(f"The token embedding of {what} is no plain lookup: take --embeddings dense.")
    head = model.get_output_embeddings()
    reads = getattr(model.config.get_text_config(), "tie_word_embeddings", False) and head is not None
    if reads and head.weight.shape != module.weight.shape:
        raise FactcliError(
            f"The head of {what} multiplies by the matrix of the token embedding itself, which a product has not: take "
            "--embeddings dense, or convert its base model."
        )
    tokens, size = module.weight.shape
    return Target(name, (size, tokens), False, None, Lookup(_tied(model, head), scale(module)))


def check_lookups(source: str, model: PreTrainedModel) -> None:
    """Raises FactcliError where encoder and decoder of a model with values look tokens up in matrices that differ."""
    base: Any = model.base_model
    if not model.config.is_encoder_decoder:
        return
    first, *others = (part.get_input_embeddings().weight for part in (base, base.get_encoder(), base.get_decoder()))
    if not all(other is first or torch.equal(other, first) for other in others):
        raise FactcliError(
            f"Encoder and decoder of {source} look tokens up in matrices that differ: take --embeddings dense."
        )


def scale(module: nn.Module) -> float:
    """What an embedding multiplies its vectors by."""
    return float(getattr(module, "embed_scale", 1.0))


def lookups(base: nn.Module, name: str) -> list[nn.Module]:
    """Every module of `base` that looks up in the matrix of the embedding `name`: in an encoder-decoder model several,
    and not always that of this name."""
    weight = base.get_submodule(name).weight
    return [m for m in base.modules() if isinstance(m, nn.Embedding) and m.weight is weight]


def _tied(model: PreTrainedModel, head: nn.Module | None) -> str | None:
    """The name of the output layer that multiplies by the matrix of the embedding, by what the model ties (without
    values, all tensors look the same)."""
    pairs = getattr(model, "all_tied_weights_keys", {})
    tied = {*pairs, *pairs.values()}
    return next((n for n, m in model.named_modules() if m is head and f"{n}.weight" in tied), None)


def _plain(module: nn.Embedding) -> bool:
    """Whether it is a lookup, scaled at most."""
    return module.max_norm is None and (type(module) is nn.Embedding or hasattr(module, "embed_scale"))
