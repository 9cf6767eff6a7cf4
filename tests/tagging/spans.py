"""Scores of spans, counted here once more."""

from collections.abc import Sequence

Span = tuple[int, int, int, str]


def spans_of(rows: Sequence[Sequence[str]]) -> set[Span]:
    """(row, first word, last word, kind) as conlleval reads tags in IOB2, BIOES or BILOU: a span begins with B or S
    (U), with another kind, or after what is outside or ended; it ends with E or S (L, U), or before what begins."""
    found: set[Span] = set()
    for row, tags in enumerate(rows):
        start, kind = None, ""
        for place, tag in enumerate([*tags, "O"]):
            prefix, _, of = tag.partition("-")
            if start is not None and (prefix in "OBSU" or of != kind):
                found.add((row, start, place - 1, kind))
                start = None
            if prefix != "O" and start is None:
                start, kind = place, of
            if start is not None and prefix in "ESLU":
                found.add((row, start, place, kind))
                start = None
    return found


def scores(true: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1, precision and recall of whole spans, and accuracy of words."""
    a, b = spans_of(true), spans_of(answers)
    both = len(a & b)
    pairs = [p for rows in zip(true, answers, strict=True) for p in zip(*rows, strict=True)]
    return {
        "f1": 2 * both / (len(a) + len(b)) if both else 0.0,
        "precision": both / len(b) if b else 0.0,
        "recall": both / len(a) if a else 0.0,
        "accuracy": sum(x == y for x, y in pairs) / len(pairs),
    }
