"""Global: every unit of rank goes where it lowers the summed error most per parameter."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from ...targets import Target
from .base import Allocation, Request, allocations

DENSE = None


@dataclass(frozen=True)
class Choice:
    """What one target may become, by growing cost: its ranks, the cost of each, and the error that each leaves; then
    dense, which leaves none."""

    target: Target
    ranks: tuple[int, ...]
    costs: tuple[int, ...]
    errors: tuple[float, ...]


@dataclass
class _Solution:
    """An index into the ranks of every choice (DENSE: dense), and the first jump to dense that did not fit."""

    picks: list[int | None]
    error: float
    blocked: int | None = None


class Global(Allocation):
    """Greedy by gain per parameter.

    Gains of ranks never grow, so that buying the best unit first is optimal ("water-filling": at the end, gain over
    cost is above one level for all that was bought and below it for all that was not), up to a last unit that no longer
    fits. Dense breaks the rule: it costs a jump, after which no error is left. A jump is taken when it pays more per
    parameter than the next unit of the same target; where one does not fit any more, both ways on (that target dense
    from the start, or never) are solved, and the better one is followed.
    """

    name = "global"
    title = "each unit of rank where it lowers the summed error most per parameter"
    needs_gains = True

    def ranks(self, request: Request) -> dict[str, int | None]:
        choices = [_choice(request, t) for t in request.targets]
        picks = solve(choices, request.limit)
        return {c.target.name: None if i is DENSE else c.ranks[i] for c, i in zip(choices, picks, strict=True)}


def solve(choices: list[Choice], limit: int) -> list[int | None]:
    """The index of each choice's rank, or None for dense, with total costs of at most `limit`."""
    dense = {i for i, c in enumerate(choices) if not c.ranks}
    factored: set[int] = set()
    best = _greedy(choices, limit, dense, factored)
    while best.blocked is not None:
        blocked = best.blocked
        without = _greedy(choices, limit, dense, factored | {blocked})
        within = (
            _greedy(choices, limit, dense | {blocked}, factored) if _fits(choices, limit, dense | {blocked}) else None
        )
        if within is not None and within.error < without.error:
            dense, best = dense | {blocked}, within
        else:
            factored, best = factored | {blocked}, without
    return best.picks


def _choice(request: Request, target: Target) -> Choice:
    ranks = request.ranks(target)
    assert request.gains is not None
    left = request.gains(target).flip(0).cumsum(0).flip(0).tolist() if ranks else []  # left[r]: the error at rank r
    left.append(0.0)
    return Choice(target, tuple(ranks), tuple(request.cost(target, r) for r in ranks), tuple(left[r] for r in ranks))


def _fits(choices: list[Choice], limit: int, dense: set[int]) -> bool:
    return sum(c.target.size if i in dense else c.costs[0] for i, c in enumerate(choices)) <= limit


def _greedy(choices: list[Choice], limit: int, dense: set[int], factored: set[int]) -> _Solution:
    """Buy the best step first, from the lowest ranks on; `dense` targets are dense, `factored` ones never are."""
    picks: list[int | None] = [DENSE if i in dense else 0 for i in range(len(choices))]
    left = limit - sum(c.target.size if i in dense else c.costs[0] for i, c in enumerate(choices))
    stuck = set(factored)  # no jump
    solution = _Solution(picks, 0.0)
    heap = [step for i in range(len(choices)) if i not in dense and (step := _next(choices[i], i, 0, stuck))]
    heapify(heap)
    while heap:
        _, index, to, cost = heappop(heap)
        if cost <= left:
            left -= cost
            picks[index] = to
        elif to is DENSE:
            solution.blocked = index if solution.blocked is None else solution.blocked
            stuck.add(index)
        else:
            continue  # no further unit of this target fits, but those of others may
        at = picks[index]
        if at is not DENSE and (step := _next(choices[index], index, at, stuck)):
            heappush(heap, step)
    solution.error = sum(c.errors[i] for c, i in zip(choices, picks, strict=True) if i is not DENSE)
    return solution


def _next(choice: Choice, index: int, at: int, stuck: set[int]) -> tuple[float, int, int | None, int] | None:
    """The best step up from rank number `at`: (minus its gain per parameter, target, where to, its cost)."""
    steps: list[tuple[float, int, int | None, int]] = []
    if at + 1 < len(choice.ranks):
        cost = choice.costs[at + 1] - choice.costs[at]
        steps.append(((choice.errors[at + 1] - choice.errors[at]) / cost, index, at + 1, cost))
    if index not in stuck:
        cost = choice.target.size - choice.costs[at]
        steps.append((-choice.errors[at] / cost, index, DENSE, cost))
    return min(steps, key=lambda step: step[0]) if steps else None


allocations.register(Global.name)(Global())
