"""What an allocation is: a budget for the targets together -> a rank for each."""

from collections.abc import Callable
from dataclasses import dataclass

from ..registry import Registry
from ..structures import Structure
from ..targets import Target


@dataclass(frozen=True)
class Request:
    """What is to be allocated: `limit` is the most parameters that the targets may have together, after."""

    targets: tuple[Target, ...]
    structure: Structure
    blocks: int
    limit: int

    def cost(self, target: Target, rank: int | None) -> int:
        """Parameters of a target at a rank; None is dense."""
        return target.size if rank is None else self.structure.parameters(target.shape, rank, self.blocks)

    def cap(self, target: Target, rank: int) -> int | None:
        """The rank, or None (dense) from the break-even rank on."""
        return None if rank >= self.structure.break_even(target.shape, self.blocks) else rank


Allocation = Callable[[Request], dict[str, int | None]]
allocations: Registry[Allocation] = Registry("allocation", "--allocation")
