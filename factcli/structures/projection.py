"""The nearest matrix of a structure, in a metric."""

from torch import Tensor

from ..linalg import truncated_svd
from ..metric import FROBENIUS, Metric
from .base import Factors, Structure


def project(w: Tensor, structure: Structure, rank: int, blocks: int, metric: Metric = FROBENIUS) -> Factors:
    """Factors of the structured matrix nearest to `w` (m, n), float64, in `metric`; balanced.

    frobenius: each block's truncated SVD is optimal (Eckart and Young; for Monarch, Dao et al. 2022, theorem 1).
    """
    if metric != FROBENIUS:
        raise NotImplementedError("metrics other than frobenius")
    u, s, vh = truncated_svd(structure.split(w, blocks), rank)
    root = s.sqrt()
    return Factors(u * root.unsqueeze(-2), root.unsqueeze(-1) * vh)
