"""A plan: what becomes of every target, with totals. A plan is data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import remote_code
from ..errors import FactcliError
from ..models.targets import Target
from ..recipe.factorizing import Budget
from ..recipe.values import format_count
from .allocations import Allocation, Gains, Request
from .file_size import FileSize
from .groups import Group, groups_of, spec_of
from .structures import Embedding, Structure, structures


@dataclass(frozen=True)
class Layer:
    """One target in the plan. `spec` belongs to the structure; a target left dense has structure "dense", no spec, and
    a reason."""

    name: str
    shape: tuple[int, int]
    structure: str
    spec: Mapping[str, Any]
    bias: bool
    parameters: int
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As config.json has it; `reason` only where there is one."""
        return self._entry({"spec": dict(self.spec)})

    def shown(self) -> dict[str, Any]:
        """As --json has it: what the spec says stands beside the rest, with rank and blocks in any case."""
        return self._entry({"rank": None, "blocks": None} | dict(self.spec))

    def _entry(self, spec: dict[str, Any]) -> dict[str, Any]:
        entry = {"name": self.name, "shape": list(self.shape), "structure": self.structure, **spec}
        entry |= {"bias": self.bias, "parameters": self.parameters}
        return entry | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Layer":
        """From config.json, of format version 1 (which had rank and blocks in the entry itself) as well."""
        values = dict(entry)
        flat = {name: values.pop(name, None) for name in ("rank", "blocks")}
        values.setdefault("spec", {k: v for k, v in flat.items() if v is not None})
        return cls(**values | {"shape": tuple(entry["shape"])})

    def left_dense(self) -> "Layer":
        """The same target as long as it is not factorized."""
        return replace(self, structure="dense", spec={}, parameters=self.shape[0] * self.shape[1])


@dataclass(frozen=True)
class Plan:
    """All targets, and parameters of the whole model and of the targets (matrices, without biases).

    `rest` are the parameters after that are no targets, where they are not those before: the source may lack a head, or
    hold what is not written again.
    """

    layers: tuple[Layer, ...]
    parameters_before: int
    targets_before: int
    rest: int | None = None

    @property
    def targets_after(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def parameters_after(self) -> int:
        rest = self.parameters_before - self.targets_before if self.rest is None else self.rest
        return rest + self.targets_after

    @property
    def factorized(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.structure != "dense"]

    @property
    def layer_file(self) -> Path:
        """The module of an export that has the layers of this plan."""
        used = {structures[layer.structure].layer_file for layer in self.factorized if layer.structure in structures}
        return next(iter(used - {remote_code.MODELING}), remote_code.MODELING)

    def totals(self) -> dict[str, Any]:
        return {
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "targets": {"before": self.targets_before, "after": self.targets_after},
        }


def make_plan(
    targets: list[Target],
    parameters: int,
    structure: Structure,
    budget: Budget,
    allocation: Allocation,
    force_rank: bool = False,
    multiple: int = 1,
    gains: Gains | None = None,
    by_frequency: bool = False,
    size: FileSize | None = None,
) -> Plan:
    """The plan for `targets` of a model with `parameters` in all; ranks are multiples of `multiple`. `gains` is for the
    allocations that look at the weights; with `by_frequency` an embedding has a rank for each group of its tokens.
    `size` says what a budget of megabytes comes to.

    Never above the budget, and the nearest such plan that the allocation knows. Raises FactcliError for a budget that
    cannot be met (with the feasible range), UsageError for targets that the structure cannot take.
    """
    structure.check([t for t in targets if t.embedding is None])
    embedding = Embedding()
    groups = {t.name: groups_of(t, by_frequency) for t in targets if t.embedding is not None and t.kept is None}
    free = [u for t in targets if t.kept is None for u in groups.get(t.name, [t])]
    dense = sum(t.size for t in targets)
    kept = dense - sum(t.size for t in free) + sum(embedding.fixed(g[0].shape[0], len(g)) for g in groups.values())
    request = Request(tuple(free), structure, 0, multiple if budget.rank is None else 1, gains, embedding)
    if budget.rank is not None:
        ranks = {t.name: _fixed_rank(request, t, budget.rank, force_rank) for t in free}
    else:
        smallest = kept + sum(request.cost(t, request.cap(t, 1)) for t in free)
        limit = _limit(budget, smallest, dense, parameters, size)
        ranks = allocation.ranks(replace(request, limit=limit - kept))
    layers = tuple(
        _embedding(request, t, groups[t.name], ranks, budget) if t.name in groups
        else _layer(request, t, ranks.get(t.name), budget)
        for t in targets
    )  # fmt: skip
    plan = Plan(layers, parameters, dense)
    if not plan.factorized:
        raise FactcliError(
            f"Every target would stay dense: {layers[0].reason}. Take a lower rank or budget"
            + (", or --force-rank." if budget.rank is not None else ".")
        )
    return plan


def _limit(budget: Budget, smallest: int, dense: int, parameters: int, size: FileSize | None) -> int:
    """Parameters that the targets may have together."""
    rest = parameters - dense
    if budget.keep is not None:
        limit = int(budget.keep * dense)
        if limit < smallest:
            raise FactcliError(
                f"--keep {budget.keep} is below what rank 1 costs: the feasible range is {smallest / dense:.4f} to 1."
            )
        return limit
    if budget.max_mb is not None:
        assert size is not None
        limit = size.within(budget.max_mb)
        if not smallest <= limit < dense:
            below = limit < smallest
            where = "below what must stay" if below else "not below the dense model in the same file"
            less = " Less must stay with --embeddings factorize, a --vocabulary, or --format and --precision int8."
            raise FactcliError(
                f"--max-mb {budget.max_mb:g} is {where}: the feasible range is {size.megabytes(smallest):.4g} to "
                f"{size.megabytes(dense):.4g} MB.{less if below else ''}"
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
        return min(rank, request.becomes(target).max_rank(target.shape))
    return request.cap(target, rank)


def _layer(request: Request, target: Target, rank: int | None, budget: Budget) -> Layer:
    structure = request.structure
    if rank is not None:
        spec, cost = structure.spec(rank), request.cost(target, rank)
        return Layer(target.name, target.shape, structure.name, spec, target.bias, cost)
    return _left_dense(request, target, budget)


def _embedding(
    request: Request, target: Target, groups: list[Group], ranks: Mapping[str, int | None], budget: Budget
) -> Layer:
    spec = spec_of(target, groups, ranks)
    if spec is None:
        return _left_dense(request, target, budget)
    cost = Embedding().all_parameters(target.shape, spec)
    return Layer(target.name, target.shape, Embedding.name, spec, False, cost)


def _left_dense(request: Request, target: Target, budget: Budget) -> Layer:
    even = request.becomes(target).break_even(target.shape)
    reason = target.kept or (
        f"rank {budget.rank} is at or above its break-even rank {even:.1f}"
        if budget.rank is not None
        else f"dense is no larger from rank {even:.1f} on"
    )
    return Layer(target.name, target.shape, "dense", {}, target.bias, target.size, reason)
