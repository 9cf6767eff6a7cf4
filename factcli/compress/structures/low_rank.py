"""Low-rank: W = L R."""

from torch import Tensor

from .base import Factors, Structure, structures


class LowRank(Structure):
    """One block. The truncated SVD is the best approximation (Eckart and Young); seed paper, section 2.1."""

    name = "low-rank"
    title = "Low-rank"
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"
    uses_blocks = False
    bias_name = "factor_out.bias"

    def state(self, factors: Factors) -> dict[str, Tensor]:
        return {"factor_in.weight": factors.right[0, 0], "factor_out.weight": factors.left[0, 0]}


structures.register(LowRank.name)(LowRank())
