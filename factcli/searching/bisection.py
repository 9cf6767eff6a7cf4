"""The smallest budget that is good enough, where a larger one is better."""

import math
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST, LARGEST, STEPS = 0.02, 0.9, 6


@dataclass(frozen=True)
class Candidate:
    """A model that was made: its share `keep` of the targets, its bytes, the points that it loses on the rows that
    choose, and the seconds that it took."""

    keep: float
    bytes: int
    loss: float
    seconds: float


def bisect(
    measure: Callable[[float], Candidate], allowed: float, low: float = SMALLEST
) -> tuple[list[Candidate], Candidate | None]:
    """Halves the range of shares, as ratios, STEPS times. All that was tried, in that order, and the smallest that
    loses no more than `allowed` points; None where none does, not even the largest share.

    A loss that rises and falls by chance can hide a smaller model that would do, never return one that does not.
    """
    tried: list[Candidate] = []
    high = LARGEST
    for _ in range(STEPS):
        keep = round(math.sqrt(low * high), 4)
        tried.append(measure(keep))
        low, high = (low, keep) if tried[-1].loss <= allowed else (keep, high)
    good = [one for one in tried if one.loss <= allowed]
    if not good:
        tried.append(measure(LARGEST))
        good = [one for one in tried[-1:] if one.loss <= allowed]
    return tried, min(good, key=lambda one: one.keep, default=None)
