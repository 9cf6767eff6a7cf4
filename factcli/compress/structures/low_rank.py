"""Low-rank: W = L R."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Tensors, structures
from .grid import Grid

if TYPE_CHECKING:
    from torch import Tensor


@structures.register
class LowRank(Grid):
    """One block. The truncated SVD is the best approximation (Eckart and Young); seed paper, section 2.1."""

    name = "low-rank"
    title = "Low-rank"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"
    bias_name = "factor_out.bias"
    gradual = True

    def tensors(self, left: Tensor, right: Tensor) -> Tensors:
        return {"factor_in.weight": right[0, 0], "factor_out.weight": left[0, 0]}

    def factors(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        return tensors["factor_out.weight"][None, None], tensors["factor_in.weight"][None, None]
