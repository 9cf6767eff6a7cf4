"""The family of grids: a matrix whose rows may be taken in another order, cut into blocks of low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ...recipe.fields import Options, option
from ..norms import FROBENIUS, Norm
from .base import Structure, Tensors

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.targets import Target


class BlockOptions(Options):
    """Of the structures with more than one block."""

    blocks: int = option(4, "Blocks a side.", ge=1)


class Grid(Structure):
    """Block low-rank in general (seed paper, section 2.2): W (m, n) with its rows in `row_order` is cut into b x b
    blocks, each of rank r. Costs b r (m + n) parameters."""

    blocks = 1

    def parameters(self, shape: tuple[int, int], rank: int) -> int:
        return self.blocks * rank * sum(shape)

    def max_rank(self, shape: tuple[int, int]) -> int:
        return min(shape) // self.blocks

    def break_even(self, shape: tuple[int, int]) -> float:
        return shape[0] * shape[1] / (self.blocks * sum(shape))

    def row_order(self, rows: int, blocks: int) -> Tensor | None:
        """Index of shape (rows,): the rows of W, output block after output block; None where they are in order."""
        return None

    def gains(self, w: Tensor, norm: Norm = FROBENIUS) -> Tensor:
        from .projection import gains

        return gains(w, self.row_order(len(w), self.blocks), self.blocks, norm)

    def project(self, w: Tensor, spec: Mapping[str, Any], norm: Norm = FROBENIUS) -> Tensors:
        from .projection import project

        blocks = spec.get("blocks", 1)
        return self.tensors(*project(w, self.row_order(len(w), blocks), spec["rank"], blocks, norm))

    def dense(self, tensors: Tensors) -> Tensor:
        from .projection import joined

        left, right = self.factors(tensors)
        return joined(left @ right, self.row_order(left.shape[0] * left.shape[2], len(left)))

    def even(self, tensors: Tensors) -> Tensors:
        """Singular directions go from large to small, and one scale has to do for all. A rotation between the factors
        leaves their product as it is (Ashkboos et al. 2024, QuaRot): this one spreads each direction over all channels.
        """
        from ..linalg import balance, hartley

        left, right = balance(*(t.double() for t in self.factors(tensors)))
        turn = hartley(left.shape[-1]).to(left.device)
        return self.tensors(left @ turn.mT, turn @ right)

    def tensors(self, left: Tensor, right: Tensor) -> Tensors:
        """Block (i, j) of the grid is left[i, j] @ right[i, j]; left (b, b, m/b, r), right (b, b, r, n/b). As the
        tensors of the exported layer (see BlockLinear)."""
        b, _, rows, rank = left.shape
        return {
            "factor_in": right.transpose(0, 1).reshape(b, b * rank, -1),
            "factor_out": left.transpose(1, 2).reshape(b, rows, b * rank),
        }

    def factors(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """left and right of `tensors`."""
        factor_in, factor_out = tensors["factor_in"], tensors["factor_out"]
        b, rows, width = factor_out.shape
        left = factor_out.view(b, rows, b, width // b).transpose(1, 2)
        return left, factor_in.view(b, b, width // b, -1).transpose(0, 1)


class Blocks(Grid):
    """A grid of as many blocks as its option says."""

    options = BlockOptions
    own: BlockOptions

    @property
    def blocks(self) -> int:  # type: ignore[override]
        return self.own.blocks

    def spec(self, rank: int) -> dict[str, Any]:
        return {"rank": rank, "blocks": self.blocks}

    def check(self, targets: Sequence[Target]) -> None:
        bad = [t for t in targets if t.shape[0] % self.blocks or t.shape[1] % self.blocks]
        if not bad:
            return
        common = math.gcd(*(size for t in targets for size in t.shape))
        divisors = [str(d) for d in range(2, min(common, 64) + 1) if common % d == 0]
        m, n = bad[0].shape
        raise UsageError(
            f"--blocks {self.blocks} does not divide {bad[0].name} ({m} x {n})"
            + (f" and {len(bad) - 1} more" if len(bad) > 1 else "")
            + (f": {', '.join(divisors)} would work" if divisors else ": no number of blocks fits all targets")
            + ", or leave such targets out with --exclude."
        )
