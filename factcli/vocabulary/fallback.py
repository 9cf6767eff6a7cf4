"""How texts fare with a smaller vocabulary that was chosen without them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from . import tokenizer
from .counting import Counts, Ints, encoded, held_out
from .pieces import Pieces
from .texts import batches


@dataclass(frozen=True)
class Fallback:
    """Of `texts` that were held out and their `tokens`: `smaller` of the tokens are gone and become smaller pieces,
    `unknown` tokens come of that; and of the `whole` texts whose tokens are all there, `differ` do not give them."""

    texts: int
    tokens: int
    smaller: int
    share: float
    unknown: int
    whole: int
    differ: int

    def sentence(self) -> str:
        """For the user."""
        unknown = f", {self.unknown} of them unknown characters" if self.unknown else ""
        return (
            f"Of {self.tokens} tokens in {self.texts} texts that were held out, {self.smaller} ({self.share:.2%}) fall "
            f"back to smaller pieces{unknown}; {self.differ} of the {self.whole} texts without such a token are read "
            "otherwise."
        )


def measure(pieces: Pieces, chosen: Ints, counts: Counts, texts: Sequence[str]) -> Fallback | None:
    """The texts of `counts` that were held out, with the tokens `chosen` without them; None where there are none."""
    tokens = int(counts.held.sum())
    if not tokens:
        return None
    values = tokenizer.trimmed(pieces, chosen)
    smaller = Tokenizer.from_str(json.dumps(values, ensure_ascii=False))
    smaller.no_truncation()
    smaller.no_padding()
    new = {old: i for i, old in enumerate(chosen.tolist())}
    unknown = whole = differ = number = 0
    for batch in batches(held_out(texts)):
        for old, found in zip(encoded(pieces.backend, batch), encoded(smaller, batch), strict=True):
            number += 1
            if pieces.unknown is not None:
                unknown += max(0, found.count(new[pieces.unknown]) - old.count(pieces.unknown))
            if new.keys() >= set(old):
                whole += 1
                differ += [new[i] for i in old] != found
    gone = tokens - int(counts.held[chosen].sum())
    return Fallback(number, tokens, gone, round(gone / tokens, 6), unknown, whole, differ)
