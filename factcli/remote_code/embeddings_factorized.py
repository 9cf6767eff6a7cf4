"""Factorized token embeddings, and the heads that are tied to them. Only torch is needed."""

import math
from typing import Any

import torch
from torch import nn

EMBEDDING = "embedding"  # the structure of a factorized embedding


class Factor(nn.Module):
    """`y = x @ weight.T`. No nn.Linear: what replaces those (adapters, quantizers) knows nothing of tied heads, which
    multiply by the transpose."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.normal_(self.weight, std=1 / math.sqrt(in_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight)


class FactorizedEmbedding(nn.Module):
    """A lookup of token vectors whose matrix is a low-rank product, another one for each group of tokens.

    Token t stands at `place[t]` in the groups laid end to end. A group of size n and rank r below `embedding_dim` d is
    rows (n + 1, r) times a factor (r, d), plus its mean vector; one of rank d is its rows themselves. Row 0 is zero:
    tokens of other groups read it, so that all groups are looked up alike and added. `weight` is as in
    FactorizedLinear.
    """

    weight: torch.Tensor
    place: torch.Tensor

    def __init__(
        self, embedding_dim: int, num_embeddings: int, sizes: list[int], ranks: list[int], scale: float = 1.0
    ) -> None:
        super().__init__()
        self.embedding_dim, self.num_embeddings, self.sizes, self.scale = embedding_dim, num_embeddings, sizes, scale
        self.register_buffer("weight", torch.zeros(1))
        self.register_buffer("place", torch.arange(num_embeddings, dtype=torch.int32))
        self.rows = nn.ModuleList(nn.Embedding(n + 1, r, 0) for n, r in zip(sizes, ranks, strict=True))
        self.factors = nn.ModuleList(Factor(r, embedding_dim) if r < embedding_dim else nn.Identity() for r in ranks)
        self.mean = nn.Embedding(len(sizes), embedding_dim)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        place = self.place[input_ids]
        y, start, group = 0, 0, torch.zeros_like(place)
        for rows, factor, size in zip(self.rows, self.factors, self.sizes, strict=True):
            at = place - (start - 1)
            y = y + factor(rows(torch.where((at > 0) & (at <= size), at, 0)))
            start += size
            group = group + (place >= start)
        vectors: torch.Tensor = y + self.mean(group)
        return vectors if self.scale == 1 else vectors * self.scale

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """The product of `hidden` (..., d) with the vector of every token, in the order of the tokens, without the
        scale: (..., num_embeddings)."""
        means, found = nn.functional.linear(hidden, self.mean.weight).unsqueeze(-1), []
        rows: Any
        for group, (rows, factor) in enumerate(zip(self.rows, self.factors, strict=True)):
            inner = hidden @ factor.weight if isinstance(factor, Factor) else hidden
            found.append(nn.functional.linear(inner, rows.weight[1:]) + means[..., group, :])
        return torch.cat(found, -1).index_select(-1, self.place)


class SharedEmbedding(nn.Module):
    """A second lookup (an encoder's or a decoder's) in the embedding of its model. It holds nothing itself."""

    def __init__(self, embedding: FactorizedEmbedding) -> None:
        super().__init__()
        self.__dict__["shared"] = embedding  # no submodule: a checkpoint has it once
        self.register_buffer("weight", torch.zeros(1), persistent=False)  # which transformers 4 sets

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.__dict__["shared"](input_ids)
        return y


class TiedHead(nn.Module):
    """The output layer over the vocabulary of a model that ties it to its embedding: the same factors, transposed. Only
    the bias is its own."""

    def __init__(self, embedding: FactorizedEmbedding, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.__dict__["shared"] = embedding
        self.bias = bias
        # Nothing: native code initializes it, fits the bias to its rows, or (transformers 4) sets it.
        self.register_buffer("weight", torch.zeros(embedding.num_embeddings, 0), persistent=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.__dict__["shared"].scores(hidden)
        return y if self.bias is None else y + self.bias


def build_embedding(entry: dict[str, Any]) -> FactorizedEmbedding:
    """The module for the entry of an embedding: `{"shape": [d, tokens], "spec": {"sizes", "ranks", ...}}`."""
    spec, (embedding_dim, num_embeddings) = entry["spec"], entry["shape"]
    return FactorizedEmbedding(embedding_dim, num_embeddings, spec["sizes"], spec["ranks"], spec.get("scale", 1.0))


def swap_embedding(model: Any, embedding: FactorizedEmbedding, tied: bool) -> None:
    """Put `embedding` in the place of the token embedding of `model`, of all lookups that share its matrix, and, where
    that is `tied`, of the output layer."""
    base, head = model.base_model, model.get_output_embeddings()
    base.set_input_embeddings(embedding)
    places = [name for name, m in base.named_modules(remove_duplicate=False) if m is embedding]
    for name in places[1:]:
        owner, _, leaf = name.rpartition(".")
        setattr(base.get_submodule(owner), leaf, SharedEmbedding(embedding))
    if tied and head is not None and not isinstance(head, TiedHead):
        model.set_output_embeddings(TiedHead(embedding, getattr(head, "bias", None)))
    for part in model.modules():
        for attribute in ("_tied_weights_keys", "all_tied_weights_keys"):
            pairs = getattr(part, attribute, None)
            if isinstance(pairs, dict):  # of transformers 5; in a list, names that are not there do no harm
                setattr(part, attribute, still_there(part, pairs))


def still_there(part: nn.Module, pairs: dict[str, str]) -> dict[str, str]:
    """Of pairs of names of tied tensors those that `part` has."""
    names = {name for name, _ in part.named_parameters(remove_duplicate=False)}
    return {a: b for a, b in pairs.items() if a in names and b in names}
