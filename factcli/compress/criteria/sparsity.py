"""The pattern that pruning left: what survived tells what matters (LPAF)."""

import torch
from torch import Tensor

from ...calibration.statistics import Statistics
from ...errors import UsageError
from ...targets import Target
from ..norms import FROBENIUS, ElementwiseMetric, KroneckerMetric, Metric
from .base import Criterion, criteria
from .fisher_rows import floored

VARIANTS = ("l0", "l1", "l2", "entries")


class Sparsity(Criterion):
    """An output counts as much as pruning left of its row: sum of d_i^2 (W - W')_ij^2, with d_i the number of entries
    that survive in row i ("l0"), or the sum of their sizes ("l1"), or their norm ("l2"). "entries" weighs survivors
    alone.

    The solution for rows is the SVD of D W, with D^-1 folded into the last factor. How the paper weighs could not be
    read; these are the plausible ways, and a matrix without zeros is projected as by plain SVD.
    """

    name = "sparsity"
    title = "sparsity-aware SVD"
    paper = "Ren and Zhu 2024, Low-Rank Prune-And-Factorize for Language Model Compression"

    def __init__(self, kind: str = "l0") -> None:
        if kind not in VARIANTS:
            raise UsageError(f"--sparsity {kind!r} is unknown: take {', '.join(VARIANTS)}.")
        self.kind = kind

    def variant(self, sparsity: str) -> Criterion:
        return Sparsity(sparsity)

    def applies(self, weight: Tensor) -> bool:
        return bool((weight == 0).any())

    def metric(self, target: Target, statistics: Statistics | None = None, weight: Tensor | None = None) -> Metric:
        assert weight is not None
        if not self.applies(weight):
            return FROBENIUS
        survives = weight != 0
        if self.kind == "entries":
            return ElementwiseMetric(floored(survives.double()))
        rows = {"l0": survives.double().sum(1), "l1": weight.double().abs().sum(1), "l2": weight.double().norm(dim=1)}
        return KroneckerMetric(torch.diag(floored(rows[self.kind].square())))


criteria.register(Sparsity.name)(Sparsity())
