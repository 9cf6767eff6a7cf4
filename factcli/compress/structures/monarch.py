"""Monarch: a product of two block-diagonal matrices with a fixed permutation between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import structures
from .grid import Blocks

if TYPE_CHECKING:
    from torch import Tensor


@structures.register
class Monarch(Blocks):
    """Dao et al. 2022, rectangular and of any rank: block low-rank after the rows are regrouped, output row i going to
    output block i mod b."""

    name = "monarch"
    title = "Monarch"
    paper = "Dao et al. 2022, Monarch: Expressive Structured Matrices for Efficient and Accurate Training"

    def row_order(self, rows: int, blocks: int) -> Tensor | None:
        import torch

        return torch.arange(rows).view(-1, blocks).T.reshape(-1)
