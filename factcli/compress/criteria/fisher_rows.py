"""Fisher information shared over the outputs: one weight per input feature (FWSVD)."""

import torch
from torch import Tensor

from ...calibration.statistics import Kind, Statistics
from ...targets import Target
from ..norms import KroneckerMetric, Metric
from .base import Criterion, criteria

FLOOR = 1e-4  # of the mean weight: what hardly matters in the sample may still matter


class FisherRows(Criterion):
    """One weight per input feature: the Fisher information summed over the outputs.

    The paper's W is (inputs, outputs), so that its rows are the columns of `nn.Linear.weight`. With D the diagonal
    of the roots of the weights, the solution is the SVD of W D, with D^-1 folded into the first factor (Hsu et al.
    2022, section 4).
    """

    name = "fisher-rows"
    title = "Fisher-weighted SVD (FWSVD)"
    paper = "Hsu et al. 2022, Language model compression with weighted low-rank factorization"
    needs = frozenset({Kind.FISHER})

    def metric(self, target: Target, statistics: Statistics | None = None, weight: Tensor | None = None) -> Metric:
        assert statistics is not None
        assert statistics.fisher is not None
        weight = statistics.fisher.double().mean(0)
        return KroneckerMetric(None, torch.diag(floored(weight)))


def floored(weight: torch.Tensor) -> torch.Tensor:
    """At least FLOOR of the mean; ones where nothing matters at all."""
    mean = weight.mean()
    return weight.clamp_min(FLOOR * float(mean)) if float(mean) > 0 else torch.ones_like(weight)


criteria.register(FisherRows.name)(FisherRows())
