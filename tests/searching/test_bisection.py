"""The search against trying everything."""

import math
import random

import pytest

from factcli.searching.bisection import LARGEST, SMALLEST, STEPS, Candidate, bisect


def run(loss_of, allowed: float, low: float = SMALLEST):  # type: ignore[no-untyped-def]
    return bisect(
        lambda keep: Candidate(keep, round(1e6 * keep), loss_of(keep), None, 0.0), lambda one: one.loss <= allowed, low
    )


@pytest.mark.parametrize("allowed", [0.1, 0.5, 2.0, 7.5])
@pytest.mark.parametrize("steepness", [0.3, 1.0, 3.0])
def test_it_finds_what_brute_force_finds(allowed: float, steepness: float) -> None:
    """To within the width that halving leaves, on a loss that falls with size."""

    def loss(keep: float) -> float:
        return 0.2 * (keep**-steepness - 1)

    tried, best = run(loss, allowed)
    fine = [SMALLEST * (LARGEST / SMALLEST) ** (i / 5000) for i in range(5001)]
    exact = next((keep for keep in fine if loss(keep) <= allowed), None)
    assert len(tried) in (STEPS, STEPS + 1)
    assert exact is not None
    assert best is not None
    width = (LARGEST / SMALLEST) ** (1 / 2**STEPS)
    assert exact / 1.0001 <= best.keep <= max(exact * width * 1.001, SMALLEST * width)
    assert best.loss <= allowed


def test_a_loss_with_noise_never_gives_what_loses_too_much() -> None:
    for seed in range(50):
        draw = random.Random(seed)
        tried, best = run(lambda keep: -math.log(keep) + draw.gauss(0, 1), 1.0)  # noqa: B023
        good = [one for one in tried if one.loss <= 1.0]
        assert best == min(good, key=lambda one: one.keep, default=None)


def test_where_nothing_does() -> None:
    tried, best = run(lambda keep: 5.0, 1.0)
    assert best is None
    assert tried[-1].keep == LARGEST


def test_it_stays_above_what_can_be_made() -> None:
    tried, best = run(lambda keep: 0.0, 1.0, low=0.3)
    assert min(one.keep for one in tried) >= 0.3
    assert best is not None
    assert best.keep < 0.31
