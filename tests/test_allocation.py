"""Allocations keep to the budget; the global one is optimal against brute force."""

from itertools import product

import pytest
import torch

from factcli.compress.allocations import Request, allocations
from factcli.compress.structures import structures
from factcli.models.targets import Target

from .compress.made import make

SHAPES = [(8, 8), (12, 8), (8, 16)]


def targets(shapes: list[tuple[int, int]]) -> tuple[Target, ...]:
    return tuple(Target(f"t.{i}", shape, True) for i, shape in enumerate(shapes))


def request(
    shapes: list[tuple[int, int]], keep: float, seed: int = 0, multiple: int = 1, method: str = "low-rank"
) -> Request:
    generator = torch.Generator().manual_seed(seed)
    structure = make(method, 2)
    made = targets(shapes)
    worth = {
        t.name: (10 ** (4 * torch.rand(structure.max_rank(t.shape), generator=generator)).double())
        .sort(descending=True)
        .values
        for t in made
    }
    limit = int(keep * sum(t.size for t in made))
    return Request(made, structure, limit, multiple, lambda t: worth[t.name])


def error(r: Request, ranks: dict[str, int | None]) -> float:
    assert r.gains is not None
    return sum(float(r.gains(t)[ranks[t.name] :].sum()) for t in r.targets if ranks[t.name] is not None)


def cost(r: Request, ranks: dict[str, int | None]) -> int:
    return sum(r.cost(t, ranks[t.name]) for t in r.targets)


def brute_force(r: Request, limit: int) -> float:
    """The least error of all plans within `limit`."""
    plans = (
        dict(zip((t.name for t in r.targets), ranks, strict=True))
        for ranks in product(*([*r.ranks(t), None] for t in r.targets))
    )
    return min(error(r, plan) for plan in plans if cost(r, plan) <= limit)


@pytest.mark.parametrize("method", list(structures))
@pytest.mark.parametrize("name", list(allocations))
def test_the_budget_is_kept(name: str, method: str) -> None:
    for keep, multiple in product((0.45, 0.6, 0.8, 0.95), (1, 2)):
        r = request([(32, 32), (64, 32), (32, 64)], keep, 0, multiple, method)
        ranks = allocations[name]().ranks(r)
        assert cost(r, ranks) <= r.limit
        for t in r.targets:
            rank = ranks[t.name]
            assert rank is None or (rank % multiple == 0 and 1 <= rank < r.structure.break_even(t.shape))


def test_global_spends_all_but_a_unit() -> None:
    for keep, multiple in product((0.3, 0.5, 0.7), (1, 4)):
        r = request([(32, 32), (64, 32), (32, 64)], keep, multiple=multiple)
        ranks = allocations["global"]().ranks(r)
        more = [
            r.cost(t, rank + multiple) - r.cost(t, rank)
            for t in r.targets
            if (rank := ranks[t.name]) in r.ranks(t)[:-1]
        ]
        assert more
        assert r.limit - cost(r, ranks) < min(more)


def test_global_is_optimal_for_equal_shapes() -> None:
    for keep, seed in product((0.5, 0.7, 0.9), range(6)):
        r = request([(12, 12)] * 3, keep, seed)
        ranks = allocations["global"]().ranks(r)
        least = brute_force(r, r.limit)
        # Dense costs a jump: the last of the budget may then lie idle or be spent otherwise, one unit of rank at most.
        assert error(r, ranks) <= brute_force(r, r.limit - 24) + 1e-9
        if None not in ranks.values():
            assert error(r, ranks) <= least * 1.1


def test_global_is_optimal_up_to_a_unit() -> None:
    unit = max(sum(s) for s in SHAPES)
    for keep, seed in product((0.5, 0.65, 0.85), range(6)):
        r = request(SHAPES, keep, seed)
        assert error(r, allocations["global"]().ranks(r)) <= brute_force(r, r.limit - unit) + 1e-9


def test_global_buys_dense_where_it_pays() -> None:
    """A flat spectrum next to one that ends early: the first needs all its ranks, which dense gives for less."""
    made = targets([(16, 16), (16, 16)])
    worth = {"t.0": torch.ones(16).double(), "t.1": torch.tensor([1.0] + [1e-6] * 15).double()}
    r = Request(made, make("low-rank"), 256 + 32 + 16, gains=lambda t: worth[t.name])
    assert allocations["global"]().ranks(r) == {"t.0": None, "t.1": 1}


def test_global_gives_more_to_what_loses_more() -> None:
    made = targets([(32, 32), (32, 32)])
    decay = 0.8 ** torch.arange(32).double()
    r = Request(made, make("low-rank"), 1024, gains=lambda t: decay * (100 if t.name == "t.0" else 1))
    ranks = allocations["global"]().ranks(r)
    assert ranks["t.0"] is None or (ranks["t.1"] is not None and ranks["t.0"] > ranks["t.1"])


def test_uniform_is_one_rank() -> None:
    r = request([(32, 32), (64, 32)], 0.5)
    assert len(set(allocations["uniform"]().ranks(r).values())) == 1
