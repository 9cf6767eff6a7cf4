"""What a structure is: a grid of low-rank blocks over a matrix whose rows may be taken in another order."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...registry import Registry
from ...remote_code.modeling_factorized import build_layer


@dataclass(frozen=True)
class Factors:
    """Block (i, j) of the grid is left[i, j] @ right[i, j]; left (b, b, m/b, r), right (b, b, r, n/b)."""

    left: Tensor
    right: Tensor

    def rounded(self, dtype: torch.dtype) -> "Factors":
        """What a layer of this dtype holds of them, float64."""
        return Factors(self.left.to(dtype).double(), self.right.to(dtype).double())


class Structure:
    """Block low-rank in general (seed paper, section 2.2): W (m, n) with its rows in `row_order` is cut into b x b
    blocks, each of rank r. Costs b r (m + n) parameters."""

    name: str
    title: str
    paper: str
    uses_blocks: bool

    def parameters(self, shape: tuple[int, int], rank: int, blocks: int) -> int:
        """Parameters of a factorized (m, n) matrix, without its bias."""
        return blocks * rank * sum(shape)

    def max_rank(self, shape: tuple[int, int], blocks: int) -> int:
        """The rank at which every (m, n) matrix is represented exactly."""
        return min(shape) // blocks

    def break_even(self, shape: tuple[int, int], blocks: int) -> float:
        """The rank at which a factorized (m, n) matrix has as many parameters as the dense one."""
        return shape[0] * shape[1] / (blocks * sum(shape))

    def row_order(self, rows: int, blocks: int) -> Tensor | None:
        """Index of shape (rows,): the rows of W, output block after output block; None where they are in order."""
        return None

    def split(self, w: Tensor, blocks: int) -> Tensor:
        """W (m, n) as its grid of blocks (b, b, m/b, n/b)."""
        m, n = w.shape
        order = self.row_order(m, blocks)
        w = w if order is None else w[order.to(w.device)]
        return w.view(blocks, m // blocks, blocks, n // blocks).transpose(1, 2)

    def dense(self, factors: Factors) -> Tensor:
        """The matrix (m, n) that the factors stand for."""
        grid = factors.left @ factors.right
        b, _, rows, columns = grid.shape
        ordered = grid.transpose(1, 2).reshape(b * rows, b * columns)
        order = self.row_order(b * rows, b)
        return ordered if order is None else torch.empty_like(ordered).index_copy_(0, order.to(ordered.device), ordered)

    def module(
        self, spec: dict[str, Any], factors: Factors, bias: Tensor | None, dtype: torch.dtype, device: torch.device
    ) -> nn.Module:
        """The layer that an export would build for `spec`, with these factors."""
        with torch.device("meta"):
            layer = build_layer(spec)
        state = {name: t.to(device, dtype).contiguous().clone() for name, t in self.state(factors).items()}
        state["weight"] = torch.zeros(1, dtype=dtype, device=device)  # see FactorizedLinear
        if bias is not None:
            state[self.bias_name] = bias.to(device, dtype).clone()
        layer.load_state_dict(state, assign=True)
        return layer

    bias_name = "bias"

    def state(self, factors: Factors) -> dict[str, Tensor]:
        """The factors as the tensors of the exported layer (see BlockLinear)."""
        b, _, rows, rank = factors.left.shape
        return {
            "factor_in": factors.right.transpose(0, 1).reshape(b, b * rank, -1),
            "factor_out": factors.left.transpose(1, 2).reshape(b, rows, b * rank),
        }


structures: Registry[Structure] = Registry("structure", "--method")
