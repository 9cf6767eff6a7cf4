"""What a criterion is: statistics of a target -> its metric."""

from ..metric import Metric
from ..registry import Registry


class Criterion:
    """Turns what calibration gathered for a target into the metric that its projection minimises."""

    name: str
    title: str
    paper: str

    def metric(self) -> Metric:
        raise NotImplementedError


criteria: Registry[Criterion] = Registry("criterion", "--criterion")
