"""Byte-pair encoding: from which pieces a token is put together, and which merges are left of a smaller vocabulary.

Whatever of a text ends in a token was put together inside it, in the order in which the token alone is: no merge that
crosses its border was made. So the pieces that a token alone goes through are all that it needs (Sennrich et al. 2016,
algorithm 1, read backwards).
"""

from collections.abc import Collection
from itertools import pairwise
from typing import Any

Pair = tuple[str, str]


class Merges:
    """The merges of a BPE `model`, as tokenizer.json has it."""

    def __init__(self, model: dict[str, Any]) -> None:
        self._prefix: str = model.get("continuing_subword_prefix") or ""
        self._suffix: str = model.get("end_of_word_suffix") or ""
        pairs = [(m[0], m[1]) if isinstance(m, list) else tuple(m.split(" ", 1)) for m in model["merges"]]
        self._ranks: dict[Pair, int] = {}
        for rank, (a, b) in enumerate(pairs):
            self._ranks.setdefault((a, b), rank)
        self._known: dict[str, set[str]] = {}

    def merged(self, a: str, b: str) -> str:
        """The token that a pair becomes."""
        return a + b.removeprefix(self._prefix) if self._prefix else a + b

    def symbols(self, token: str) -> list[str]:
        """The characters that a token is put together from, as the vocabulary writes them."""
        inner = token.removeprefix(self._prefix).removesuffix(self._suffix)
        found = [self._prefix + c if i or token != token.removeprefix(self._prefix) else c for i, c in enumerate(inner)]
        if found and self._suffix and token.endswith(self._suffix):
            found[-1] += self._suffix
        return found

    def ancestors(self, token: str) -> set[str]:
        """The pieces that a token goes through, itself left out; none where merges do not lead to it, so that it can
        only be found whole."""
        if token not in self._known:
            self._known[token] = self._ancestors(token)
        return self._known[token]

    def _ancestors(self, token: str) -> set[str]:
        parts = self.symbols(token)
        found = set(parts)
        while len(parts) > 1:
            ranked = [(self._ranks[pair], i) for i, pair in enumerate(pairwise(parts))
                      if pair in self._ranks]  # fmt: skip
            if not ranked:
                return set()
            _, i = min(ranked)
            parts[i : i + 2] = [self.merged(parts[i], parts[i + 1])]
            found.add(parts[i])
        return found - {token}

    def left(self, kept: Collection[str]) -> list[Pair]:
        """The merges, in order, of kept pieces into kept pieces."""
        return [(a, b) for a, b in self._ranks if a in kept and b in kept and self.merged(a, b) in kept]
