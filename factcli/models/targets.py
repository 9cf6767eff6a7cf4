"""Which matrices of a model are factorized."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import FactcliError, UsageError


@dataclass(frozen=True)
class Lookup:
    """How the matrix of an embedding is used: by the output layer `head` (a name) where that is tied to it; and what
    the vectors that are looked up are multiplied by."""

    head: str | None = None
    scale: float = 1.0

    @property
    def tied(self) -> bool:
        """Whether the output layer multiplies by it too."""
        return self.head is not None


@dataclass(frozen=True)
class Target:
    """A dense matrix (m, n) = (out_features, in_features) by its name relative to the base model.

    `kept` is the reason why it must stay dense, if there is one. That of an `embedding`, whose inputs are
    one-hot, is (embedding size, tokens), what its module stores transposed.
    """

    name: str
    shape: tuple[int, int]
    bias: bool
    kept: str | None = None
    embedding: Lookup | None = None

    @property
    def size(self) -> int:
        """Parameters of the dense matrix, without its bias."""
        return self.shape[0] * self.shape[1]


def is_linear(module: nn.Module) -> bool:
    """Exactly a linear layer: subclasses may be read in ways that a product cannot serve."""
    return type(module) in (nn.Linear, Conv1D)


def matrix(module: nn.Module) -> Tensor:
    """The weight of a linear layer as (out_features, in_features); GPT-2's Conv1D stores it transposed, and so does an
    embedding, whose matrix is (embedding size, tokens)."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.T if isinstance(module, (Conv1D, nn.Embedding)) else weight


def find_targets(
    base_model: nn.Module, include: Iterable[str] = (), exclude: Iterable[str] = (), embedding: Target | None = None
) -> list[Target]:
    """Every linear layer inside the repeated blocks of `base_model` (an encoder without heads), in order; after the
    `embedding` of its tokens, where that is to be one.

    `include` and `exclude` are regular expressions searched in the name. Raises UsageError where a pattern cannot be
    read, FactcliError where it matches nothing, and where there is nothing to factorize.
    """
    users = Counter(id(p) for m in base_model.modules() for p in m.parameters(recurse=False))
    found = []
    for name, module in base_model.named_modules():
        if is_linear(module) and any(part.isdigit() for part in name.split(".")):
            m, n = matrix(module).shape
            kept = "its weight is shared with another module" if users[id(module.weight)] > 1 else None
            found.append(Target(name, (m, n), module.bias is not None, kept))
    if not found:
        raise FactcliError(
            f"{type(base_model).__name__} has no linear layers in repeated blocks, so there is nothing to factorize."
        )
    found = [embedding, *found] if embedding else found
    chosen = list(_matching(found, include, "--include")) if include else found
    dropped = set(_matching(found, exclude, "--exclude")) if exclude else set()
    chosen = [t for t in chosen if t not in dropped]
    if not chosen:
        raise FactcliError("--include and --exclude leave no target: give patterns that keep at least one.")
    return chosen


def _matching(targets: list[Target], patterns: Iterable[str], option: str) -> Iterator[Target]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise UsageError(f"{option} {pattern!r} is not a regular expression: {error}.") from error
        if not any(compiled[-1].search(t.name) for t in targets):
            first = targets[0]
            if first.embedding is not None and first.embedding.head and compiled[-1].search(first.embedding.head):
                raise FactcliError(
                    f"{option} {pattern!r} names {first.embedding.head}, which is tied to the token embedding, so that "
                    f"they are one target: give {option} {first.name!r}."
                )
            raise FactcliError(f"{option} {pattern!r} matches no target; names look like {targets[0].name!r}.")
    return (t for t in targets if any(c.search(t.name) for c in compiled))
