"""What an allocation is: a budget for the targets together -> a rank for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...recipe.registry import Choice
from ...recipe.registry import allocations as allocations

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.targets import Target
    from ..structures import Structure

Gains = Callable[["Target"], "Tensor"]


@dataclass(frozen=True)
class Request:
    """What is to be allocated: `limit` is the most parameters that the targets may have together, after.

    Ranks are multiples of `multiple` (as far as a target's break-even rank allows). `gains`, for the allocations that
    need it, says what each unit of rank takes off the error of a target. Targets that are embeddings (groups of their
    tokens) become what `embedding` says, all others what `structure` says.
    """

    targets: tuple[Target, ...]
    structure: Structure
    limit: int
    multiple: int = 1
    gains: Gains | None = None
    embedding: Structure | None = None

    def becomes(self, target: Target) -> Structure:
        """The structure of a target."""
        return self.embedding if target.embedding is not None and self.embedding is not None else self.structure

    def cost(self, target: Target, rank: int | None) -> int:
        """Parameters of a target at a rank; None is dense."""
        return target.size if rank is None else self.becomes(target).parameters(target.shape, rank)

    def cap(self, target: Target, rank: int) -> int | None:
        """The rank as it may be: a multiple, where the target is large enough for one, and None (dense) from the
        break-even rank on."""
        even = self.becomes(target).break_even(target.shape)
        rank = max(rank // self.multiple, 1) * self.multiple if self.multiple < even else rank
        return None if rank >= even else rank

    def ranks(self, target: Target) -> list[int]:
        """The ranks that a target may have, dense aside, ascending; empty where none saves anything."""
        most = math.ceil(self.becomes(target).break_even(target.shape)) - 1
        most = min(most, self.becomes(target).max_rank(target.shape))
        step = self.multiple if self.multiple <= most else 1
        return list(range(step, most + 1, step))


class Allocation(Choice):
    """Spends a budget. `needs_gains` says whether it looks at the weights (through `Request.gains`)."""

    needs_gains: ClassVar[bool] = False

    def ranks(self, request: Request) -> dict[str, int | None]:
        """Target name -> rank, or None for dense; together never above the request's limit."""
        raise NotImplementedError
