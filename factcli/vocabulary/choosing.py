"""Which tokens stay."""

from collections.abc import Collection

import numpy as np

from ..errors import FactcliError
from .counting import Ints
from .pieces import Pieces


def choose(pieces: Pieces, counts: Ints, must_stay: Collection[int], size: int | None) -> Ints:
    """The ids that stay, ascending: `must_stay`, and of the others those with a count, the commonest first (ties by
    id), each with the pieces that it is put together from, until there are `size` of them. Where the texts use fewer
    the lowest ids fill it up, which are the commonest to who made the tokenizer: few texts do not show all that the
    next ones use.

    Raises FactcliError where `size` does not hold what must stay.
    """
    kept = set(must_stay)
    if size is not None and size < len(kept):
        raise FactcliError(
            f"--vocabulary-size {size} is less than the {len(kept)} tokens that must stay (special tokens, single "
            f"characters, bytes, and what the model's own files use): give at least {len(kept)}."
        )
    for i in np.argsort(-counts, kind="stable").tolist():
        if (counts[i] == 0) if size is None else (len(kept) >= size):
            break
        if i in kept or i not in pieces.tokens:
            continue
        wanted = {i, *pieces.ancestors(i)} - kept
        if size is None or len(kept) + len(wanted) <= size:
            kept |= wanted
    return np.array(sorted(kept), np.int64)


def closed(pieces: Pieces, ids: Collection[int]) -> set[int]:
    """The ids with all that they are put together from."""
    return set(ids).union(*(pieces.ancestors(i) for i in ids))
