"""The smallest budget that is good enough, or the largest that is small enough."""

import math
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST, LARGEST, STEPS = 0.02, 0.9, 6


@dataclass(frozen=True)
class Candidate:
    """A model that was made: its share `keep` of the targets, its bytes, the points that it loses on the rows that
    choose, the milliseconds of a pass (each None where it was not asked for), and the seconds that it took."""

    keep: float
    bytes: int
    loss: float | None
    ms: float | None
    seconds: float


def bisect(
    measure: Callable[[float], Candidate],
    good: Callable[[Candidate], bool],
    low: float = SMALLEST,
    largest: bool = False,
    more: Callable[[], bool] = lambda: True,
) -> tuple[list[Candidate], Candidate | None]:
    """Halves the range of shares, as ratios, STEPS times, while there may be `more`. All that was tried, in that order,
    and the smallest that is good, or the `largest`; None where none is, not even the share at that end of the range.

    What rises and falls by chance can hide a better share, never return one that is not good.
    """
    tried: list[Candidate] = []
    ends = low, LARGEST
    high = LARGEST
    for step in range(STEPS):
        if step and not more():
            break
        keep = round(math.sqrt(low * high), 4)
        tried.append(measure(keep))
        low, high = (keep, high) if good(tried[-1]) == largest else (low, keep)
    found = [one for one in tried if good(one)]
    if not found and more():
        tried.append(measure(round(ends[not largest], 4)))
        found = [one for one in tried[-1:] if good(one)]
    return tried, (max if largest else min)(found, key=lambda one: one.keep, default=None)
