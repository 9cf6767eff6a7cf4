"""A plan: what becomes of every target, with totals. A plan is data."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FactcliError, UsageError
from ..targets import Target
from .allocations import Gains, Request, allocations
from .structures import Structure


@dataclass(frozen=True)
class Layer:
    """One target in the plan; a target left dense has structure "dense", no rank, and a reason."""

    name: str
    shape: tuple[int, int]
    structure: str
    rank: int | None
    blocks: int | None
    bias: bool
    parameters: int
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As design and configuration have it; `reason` only where there is one."""
        entry: dict[str, Any] = {
            "name": self.name,
            "shape": list(self.shape),
            "structure": self.structure,
            "rank": self.rank,
            "blocks": self.blocks,
            "bias": self.bias,
            "parameters": self.parameters,
        }
        return entry | ({"reason": self.reason} if self.reason else {})


@dataclass(frozen=True)
class Plan:
    """All targets, and parameters of the whole model and of the targets (matrices, without biases)."""

    layers: tuple[Layer, ...]
    parameters_before: int
    targets_before: int

    @property
    def targets_after(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters_after(self) -> int:
        return self.parameters_before - self.targets_before + self.targets_after

    @property
    def factorized(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.structure != "dense"]

    def totals(self) -> dict[str, Any]:
        return {
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "targets": {"before": self.targets_before, "after": self.targets_after},
        }


@dataclass(frozen=True)
class Budget:
    """Exactly one of: parameters of the whole model, fraction of the targets' parameters, rank of every target."""

    params: int | None = None
    keep: float | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        given = [f"--{k}" for k in ("params", "keep", "rank") if getattr(self, k) is not None]
        if len(given) != 1:
            raise UsageError(
                f"Give exactly one of --params, --keep and --rank, not {' and '.join(given) if given else 'none'}."
            )
        if self.keep is not None and not (math.isfinite(self.keep) and 0 < self.keep < 1):
            raise UsageError(f"--keep {self.keep} is not a fraction between 0 and 1: 0.25 keeps a quarter.")
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"--rank {self.rank} is below 1.")
        if self.params is not None and self.params < 1:
            raise UsageError(f"--params {self.params} is not a positive count.")


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}


def parse_count(text: str | int | float) -> int:
    """ "44M", "1.2B", "44400000" or a number -> a count."""
    match = re.fullmatch(r"\s*([0-9][0-9_]*\.?[0-9]*(?:e[0-9]+)?)\s*([kmbg]?)\s*", str(text).lower())
    if not match:
        raise UsageError(f"--params {text!r} is not a count of parameters: write 44M, 1.2B or 44400000.")
    return round(float(match[1].replace("_", "")) * _UNITS[match[2]])


def format_count(count: float) -> str:
    """44454144 -> "44.45M"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2f}{unit}"
    return str(int(count))


def make_plan(
    targets: list[Target],
    parameters: int,
    structure: Structure,
    blocks: int,
    budget: Budget,
    allocation: str = "uniform",
    force_rank: bool = False,
    multiple: int = 1,
    gains: Gains | None = None,
) -> Plan:
    """The plan for `targets` of a model with `parameters` in all; ranks are multiples of `multiple`. `gains` is for the
    allocations that look at the weights.

    Never above the budget, and the nearest such plan that the allocation knows. Raises FactcliError for a budget that
    cannot be met (with the feasible range), UsageError for blocks that do not divide.
    """
    blocks = blocks if structure.uses_blocks else 1
    _check_blocks(targets, blocks)
    free = [t for t in targets if t.kept is None]
    dense = sum(t.size for t in targets)
    kept = dense - sum(t.size for t in free)
    request = Request(tuple(free), structure, blocks, 0, multiple if budget.rank is None else 1, gains)
    if budget.rank is not None:
        if allocations[allocation].needs_gains:
            raise UsageError(f"--rank is one rank for all: give --keep or --params with --allocation {allocation}.")
        ranks = {t.name: _fixed_rank(request, t, budget.rank, force_rank) for t in free}
    else:
        smallest = kept + sum(request.cost(t, request.cap(t, 1)) for t in free)
        limit = _limit(budget, smallest, dense, parameters)
        ranks = allocations[allocation].ranks(replace(request, limit=limit - kept))
    layers = tuple(_layer(request, t, ranks.get(t.name), budget) for t in targets)
    plan = Plan(layers, parameters, dense)
    if not plan.factorized:
        raise FactcliError(
            f"Every target would stay dense: {layers[0].reason}. Take a lower rank or budget"
            + (", or --force-rank." if budget.rank is not None else ".")
        )
    return plan


def _check_blocks(targets: list[Target], blocks: int) -> None:
    if blocks < 1:
        raise UsageError(f"--blocks {blocks} is below 1.")
    bad = [t for t in targets if t.shape[0] % blocks or t.shape[1] % blocks]
    if bad:
        common = math.gcd(*(size for t in targets for size in t.shape))
        divisors = [str(d) for d in range(2, min(common, 64) + 1) if common % d == 0]
        m, n = bad[0].shape
        raise UsageError(
            f"--blocks {blocks} does not divide {bad[0].name} ({m} x {n})"
            + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")
            + (f": {', '.join(divisors)} would work" if divisors else ": no number of blocks fits all targets")
            + ", or leave such targets out with --exclude."
        )


def _limit(budget: Budget, smallest: int, dense: int, parameters: int) -> int:
    """Parameters that the targets may have together."""
    rest = parameters - dense
    if budget.keep is not None:
        limit = int(budget.keep * dense)
        if limit < smallest:
            raise FactcliError(
                f"--keep {budget.keep} is below what rank 1 costs: the feasible range is {smallest / dense:.4f} to 1."
            )
        return limit
    assert budget.params is not None
    if not rest + smallest <= budget.params < parameters:
        where = "below what it needs" if budget.params < rest + smallest else "not below the dense model"
        raise FactcliError(
            f"--params {format_count(budget.params)} is {where}: {format_count(rest)} parameters are not targets, so "
            f"the feasible range is {format_count(rest + smallest)} ({rest + smallest}) to {format_count(parameters)}."
        )
    return budget.params - rest


def _fixed_rank(request: Request, target: Target, rank: int, force: bool) -> int | None:
    if force:
        return min(rank, request.structure.max_rank(target.shape, request.blocks))
    return request.cap(target, rank)


def _layer(request: Request, target: Target, rank: int | None, budget: Budget) -> Layer:
    if rank is not None:
        blocks = request.blocks if request.structure.uses_blocks else None
        cost = request.cost(target, rank)
        return Layer(target.name, target.shape, request.structure.name, rank, blocks, target.bias, cost)
    even = request.structure.break_even(target.shape, request.blocks)
    reason = target.kept or (
        f"rank {budget.rank} is at or above its break-even rank {even:.1f}"
        if budget.rank is not None
        else f"dense is no larger from rank {even:.1f} on"
    )
    return Layer(target.name, target.shape, "dense", None, None, target.bias, target.size, reason)
