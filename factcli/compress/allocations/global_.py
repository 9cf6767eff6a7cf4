"""Global: every unit of rank goes where it lowers the summed error most per parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ...progress import steps
from .base import Allocation, Request, allocations

if TYPE_CHECKING:
    from ...models.targets import Target

BETTER = 1 + 1e-9  # a longer step must pay so much more than a shorter one: less is rounding
Step = tuple[float, int, int, int]  # minus what it gains per parameter, which target, up to which point, its cost


@allocations.register
class Global(Allocation):
    """Greedy by gain per parameter, along the lower convex hull of each target's error over its cost.

    Along the hull what a step gains per parameter never grows, so that buying the best step first is optimal
    ("water-filling": at the end, gain over cost is above one level for all that was bought and below it for all that
    was not), up to a last step that no longer fits; a shorter one is then taken in its place. Dense is the end of every
    hull, often after a jump, as it leaves no error. Where a jump to it does not fit any more, both ways on (that target
    dense from the start, or never) are solved, and the better one is followed.
    """

    name = "global"
    title = "each unit of rank where it lowers the summed error most per parameter"
    needs_gains = True

    def ranks(self, request: Request) -> dict[str, int | None]:
        curves = [_curve(request, t) for t in steps("planning", request.targets)]
        picks = solve(curves, request.limit)
        return {c.target.name: c.ranks[i] for c, i in zip(curves, picks, strict=True)}


@dataclass(frozen=True)
class Curve:
    """What one target may become, by growing cost: its ranks, and None for dense, which is last; the cost of each, the
    error that each leaves, and the point to go on to from each; `within` without dense."""

    target: Target
    ranks: tuple[int | None, ...]
    costs: tuple[int, ...]
    errors: tuple[float, ...]
    after: tuple[int, ...]
    within: tuple[int, ...]

    @property
    def dense(self) -> int:
        return len(self.ranks) - 1

    def step(self, index: int, at: int, to: int) -> Step:
        """From one point to another, of the curve with this index."""
        return _slope(self.costs, self.errors, at, to), index, to, self.costs[to] - self.costs[at]


@dataclass
class _Solution:
    """A point on every curve, and the first jump to dense that did not fit."""

    picks: list[int]
    error: float = 0.0
    blocked: int | None = None


def solve(curves: list[Curve], limit: int) -> list[int]:
    """A point on each curve, with total costs of at most `limit`."""
    dense: set[int] = set()
    factored: set[int] = set()
    best = _greedy(curves, limit, dense, factored)
    while best.blocked is not None:
        blocked = best.blocked
        without = _greedy(curves, limit, dense, factored | {blocked})
        fits = sum(c.costs[c.dense if i in dense | {blocked} else 0] for i, c in enumerate(curves)) <= limit
        within = _greedy(curves, limit, dense | {blocked}, factored) if fits else None
        if within is not None and within.error < without.error:
            dense, best = dense | {blocked}, within
        else:
            factored, best = factored | {blocked}, without
    return best.picks


def _curve(request: Request, target: Target) -> Curve:
    ranks = request.ranks(target)
    assert request.gains is not None
    left = request.gains(target).flip(0).cumsum(0).flip(0).tolist() if ranks else []  # left[r]: the error at rank r
    left.append(0.0)
    costs = (*(request.cost(target, r) for r in ranks), target.size)
    errors = (*(left[r] for r in ranks), 0.0)
    return Curve(target, (*ranks, None), costs, errors, _hull(costs, errors), _hull(costs[:-1], errors[:-1]))


def _hull(costs: Sequence[int], errors: Sequence[float]) -> tuple[int, ...]:
    """From each point the nearest of those to which error falls most per parameter; the last leads to itself."""

    after = list(range(len(costs)))
    for at in reversed(range(len(costs) - 1)):
        to = at + 1
        while after[to] != to and _slope(costs, errors, at, after[to]) < BETTER * _slope(costs, errors, at, to):
            to = after[to]
        after[at] = to
    return tuple(after)


def _slope(costs: Sequence[int], errors: Sequence[float], at: int, to: int) -> float:
    return (errors[to] - errors[at]) / (costs[to] - costs[at])


def _greedy(curves: list[Curve], limit: int, dense: set[int], factored: set[int]) -> _Solution:
    """Buy the best step first, from the lowest ranks on; `dense` targets are dense, `factored` ones never are."""
    picks = [c.dense if i in dense else 0 for i, c in enumerate(curves)]
    left = limit - sum(c.costs[pick] for c, pick in zip(curves, picks, strict=True))
    stuck = set(factored)  # no jump to dense
    solution = _Solution(picks)
    heap: list[Step] = []

    def go_on(index: int) -> None:
        curve, at = curves[index], picks[index]
        to = at if at == curve.dense else (curve.within if index in stuck else curve.after)[at]
        if to != at:
            heappush(heap, curve.step(index, at, to))

    for index in range(len(curves)):
        go_on(index)
    while heap:
        _, index, to, cost = heappop(heap)
        curve, at = curves[index], picks[index]
        if cost <= left:
            left -= cost
            picks[index] = to
        elif to == curve.dense:
            solution.blocked = index if solution.blocked is None else solution.blocked
            stuck.add(index)
        else:
            shorter = [curve.step(index, at, i) for i in range(at + 1, to) if curve.costs[i] - curve.costs[at] <= left]
            if shorter:
                heappush(heap, min(shorter, key=lambda step: step[0]))
            continue  # no further step of this target fits, but those of others may
        go_on(index)
    solution.error = sum(c.errors[pick] for c, pick in zip(curves, picks, strict=True))
    return solution
