"""Measures of a ranking. Gains are how relevant an answer is, 0 or less being not at all; the best answer is first."""

import math
from collections.abc import Sequence

Gains = Sequence[float]
CUT = 10  # answers that people look at


def ndcg(ranked: Gains, gains: Gains, cut: int = CUT) -> float:
    """Discounted cumulative gain of the first answers, as a share of what the best order of all `gains` has (Järvelin
    and Kekäläinen 2002, with the gains themselves and the logarithm of the rank, as trec_eval)."""
    return _discounted(ranked, cut) / _discounted(sorted(gains, reverse=True), cut)


def reciprocal_rank(ranked: Gains, cut: int = CUT) -> float:
    """One over the rank of the first relevant answer, 0 where it is not among the first."""
    return next((1 / rank for rank, gain in enumerate(ranked[:cut], 1) if gain > 0), 0.0)


def recall(ranked: Gains, gains: Gains, cut: int) -> float:
    """The share of all that is relevant which is among the first answers."""
    return sum(gain > 0 for gain in ranked[:cut]) / sum(gain > 0 for gain in gains)


def average_precision(ranked: Gains) -> float:
    """The mean of the precisions at the ranks of the relevant answers, all of which are `ranked`."""
    ranks = [rank for rank, gain in enumerate(ranked, 1) if gain > 0]
    return sum(found / rank for found, rank in enumerate(ranks, 1)) / len(ranks)


def chance(gains: Gains, candidates: int, cut: int = CUT) -> float:
    """What `ndcg` is, on average, of a random order of so many candidates."""
    mean = sum(gain for gain in gains if gain > 0) / candidates
    return _discounted([mean] * min(cut, candidates), cut) / _discounted(sorted(gains, reverse=True), cut)


def _discounted(gains: Gains, cut: int) -> float:
    return sum(max(gain, 0.0) / math.log2(rank + 1) for rank, gain in enumerate(gains[:cut], 1))
