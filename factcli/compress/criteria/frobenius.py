"""Frobenius: all weights alike."""

from torch import Tensor

from ...calibration.statistics import Statistics
from ...targets import Target
from ..norms import FROBENIUS, Metric
from .base import Criterion, criteria


class Frobenius(Criterion):
    """The sum of squared differences; its projections are plain truncated SVDs."""

    name = "frobenius"
    title = "SVD"
    paper = "Eckart and Young 1936, The approximation of one matrix by another of lower rank"

    def metric(self, target: Target, statistics: Statistics | None = None, weight: Tensor | None = None) -> Metric:
        return FROBENIUS


criteria.register(Frobenius.name)(Frobenius())
