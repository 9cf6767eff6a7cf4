"""Uniform: the same rank everywhere."""

from .base import Request, allocations


@allocations.register("uniform")
def uniform(request: Request) -> dict[str, int | None]:
    """Target name -> the largest common rank that the limit allows; targets that it would not shrink stay dense."""

    def ranks(rank: int) -> dict[str, int | None]:
        return {t.name: request.cap(t, rank) for t in request.targets}

    def cost(rank: int) -> int:
        return sum(request.cost(t, request.cap(t, rank)) for t in request.targets)

    low, high = 1, max(request.structure.max_rank(t.shape, request.blocks) for t in request.targets)
    while low < high:  # cost never falls with the rank: find the last rank within the limit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= request.limit else (low, middle - 1)
    return ranks(low)
