"""Monarch: a product of two block-diagonal matrices with a fixed permutation between them."""

import torch
from torch import Tensor

from .base import Structure, structures


class Monarch(Structure):
    """Dao et al. 2022, rectangular and of any rank: block low-rank after the rows are regrouped, output row i going to
    output block i mod b."""

    name = "monarch"
    title = "Monarch"
    paper = "Dao et al. 2022, Monarch: Expressive Structured Matrices for Efficient and Accurate Training"
    uses_blocks = True

    def row_order(self, rows: int, blocks: int) -> Tensor | None:
        return torch.arange(rows).view(-1, blocks).T.reshape(-1)


structures.register(Monarch.name)(Monarch())
