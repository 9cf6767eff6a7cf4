"""Uniform: the same rank everywhere."""

from .base import Allocation, Request, allocations


@allocations.register
class Uniform(Allocation):
    """The largest common rank that the limit allows; targets that it would not shrink stay dense."""

    name = "uniform"
    title = "one rank for all"

    def ranks(self, request: Request) -> dict[str, int | None]:
        def cost(rank: int) -> int:
            return sum(request.cost(t, request.cap(t, rank)) for t in request.targets)

        low, high = 1, max(request.becomes(t).max_rank(t.shape) for t in request.targets)
        while low < high:  # cost never falls with the rank: find the last rank within the limit
            middle = (low + high + 1) // 2
            low, high = (middle, high) if cost(middle) <= request.limit else (low, middle - 1)
        return {t.name: request.cap(t, low) for t in request.targets}
