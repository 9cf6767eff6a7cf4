"""How often every token of a tokenizer stands in texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..progress import tell
from .texts import HELD_OUT, batches

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """`seen` and `held` (ids,) are how often each id stands in the texts that are not held out, and in those that are;
    `texts` is their number together, `nothing` that of texts without a token."""

    seen: Ints
    held: Ints
    texts: int
    nothing: int

    @property
    def all(self) -> Ints:
        """Over all texts (ids,)."""
        return self.seen + self.held


def encoded(backend: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts, uncut and without what is put around them."""
    return [one.ids for one in backend.encode_batch_fast(list(texts), add_special_tokens=False)]


def count(backend: Tokenizer, texts: Sequence[str], size: int) -> Counts:
    """Counts of the ids below `size`, of all texts; every HELD_OUTth counts as held out."""
    seen, held = np.zeros(size, np.int64), np.zeros(size, np.int64)
    number = nothing = 0
    for batch in batches(texts):
        tell(number, len(texts), "counting tokens")
        parts: tuple[list[int], list[int]] = [], []
        for ids in encoded(backend, batch):
            number += 1
            nothing += not ids
            parts[number % HELD_OUT == 0].extend(ids)
        for total, part in zip((seen, held), parts, strict=True):
            total += np.bincount(np.asarray(part, np.int64), minlength=size)
    return Counts(seen, held, number, nothing)


def held_out(texts: Sequence[str]) -> Sequence[str]:
    """The texts that `count` holds out."""
    return texts[HELD_OUT - 1 :: HELD_OUT]
