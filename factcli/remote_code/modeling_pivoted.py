"""Factorized transformers with pivoted low-rank layers: `modeling_factorized.py`, and the one layer more.

A matrix of rank r has r columns that all the others are combinations of: kept as they are, they need no second factor.
"""

import torch
from torch import nn

from .configuration_factorized import PREFIX  # noqa: F401  (a loader that looks one file deep finds it here)
from .modeling_factorized import LAYERS, FactorizedLinear, factorized_class


class PivotedLinear(FactorizedLinear):
    """A linear layer of rank `rank` in rank * (in_features + out_features - rank) parameters.

    `order` (in_features,) lists the inputs, `rank` pivots first. factor_out has their columns of the matrix, factor_in
    what each of the other columns takes of them: `y = factor_out(pivots + factor_in(others))`.
    """

    order: torch.Tensor

    def __init__(self, in_features: int, out_features: int, rank: int, bias: bool) -> None:
        super().__init__(in_features, out_features)
        self.sizes = [rank, in_features - rank]
        self.factor_in = nn.Linear(in_features - rank, rank, bias=False)
        self.factor_out = nn.Linear(rank, out_features, bias=bias)
        self.register_buffer("order", torch.arange(in_features, dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ordered = x.reshape(-1, self.in_features).index_select(1, self.order)
        pivots, others = torch.split(ordered, self.sizes, 1)
        y: torch.Tensor = self.factor_out(pivots + self.factor_in(others))
        return y.view(*x.shape[:-1], self.out_features)


LAYERS["pivoted"] = PivotedLinear


def __getattr__(name: str) -> object:
    return factorized_class(name, __name__)
