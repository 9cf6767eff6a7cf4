"""Fisher information of the weights, entry by entry (TFWSVD)."""

from torch import Tensor

from ...calibration.statistics import Kind, Statistics
from ...targets import Target
from ..norms import ElementwiseMetric, Metric
from .base import Criterion, criteria
from .fisher_rows import floored


class Fisher(Criterion):
    """One weight per entry: sum of I * (W - W')^2, twice the rise of the loss where the weights are independent.

    Solved numerically, starting from `fisher-rows`.
    """

    name = "fisher"
    title = "true Fisher-weighted SVD (TFWSVD)"
    paper = "Hua et al. 2022, Numerical Optimizations for Weighted Low-rank Estimation on Language Models"
    needs = frozenset({Kind.FISHER})
    comparable = True

    def metric(self, target: Target, statistics: Statistics | None = None, weight: Tensor | None = None) -> Metric:
        assert statistics is not None
        assert statistics.fisher is not None
        return ElementwiseMetric(floored(statistics.fisher.double()))


criteria.register(Fisher.name)(Fisher())
