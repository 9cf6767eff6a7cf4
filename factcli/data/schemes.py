"""Schemes by which tags of words mark spans: IOB2, BIOES and BILOU; or plain tags, which mark none."""

import re
from collections.abc import Sequence

from ..errors import FactcliError

OUTSIDE = "O"
_SPAN = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
_LIKE_ONE = re.compile(r"[A-Z]-.*", re.DOTALL)
_IN_BIOES = {"L": "E", "U": "S"}


def marks_spans(tags: Sequence[str], what: str) -> bool:
    """Whether the tags mark spans (B-PER, or B alone); False for plain ones (NOUN). `what` has them, for messages.

    Raises FactcliError for tags of no scheme, or of more than one.
    """
    inside = [tag for tag in tags if tag != OUTSIDE]
    spans = [tag for tag in inside if _SPAN.fullmatch(tag)]
    if not spans and "B" in inside and set(inside) <= set("BIESLU"):
        spans = inside  # of one kind, which has no name
    strange = [tag for tag in inside if tag not in spans]
    if not spans:
        strange = [tag for tag in inside if _LIKE_ONE.fullmatch(tag)]
        if not strange or (len(strange) < len(inside) and OUTSIDE not in tags):
            return False  # a part of speech may have a hyphen
    if strange:
        raise FactcliError(
            f"{what} has the tag {strange[0]!r}, which is of no known scheme: write {OUTSIDE} and names behind B- and "
            "I- (IOB2), also E- and S- (BIOES) or L- and U- (BILOU), or no such prefix at all."
        )
    prefixes = {tag[0] for tag in spans}
    if prefixes & set("ES") and prefixes & set("LU"):
        raise FactcliError(
            f"{what} has tags of two schemes ({', '.join(sorted(f'{p}-' for p in prefixes & set('ESLU')))}): write E- "
            "and S- (BIOES) or L- and U- (BILOU)."
        )
    return True


def in_bioes(tag: str) -> str:
    """A tag of a span with L and U spelt E and S, as seqeval knows them."""
    return _IN_BIOES.get(tag[0], tag[0]) + tag[1:]
