"""What a criterion is: statistics of a target -> its metric."""

import torch
from torch import Tensor

from ...calibration.statistics import Kind, Statistics
from ...registry import Registry
from ...targets import Target
from ..norms import Metric


class Criterion:
    """Turns what calibration gathered for a target into the metric that its projection minimises.

    `needs` are the statistics it reads; none means that it needs no data. `comparable` says whether errors of
    different targets are in one unit (of the loss), so that an allocation may add them up as they are.
    """

    name: str
    title: str
    paper: str
    needs: frozenset[Kind] = frozenset()
    comparable: bool = False

    def metric(self, target: Target, statistics: Statistics | None = None, weight: Tensor | None = None) -> Metric:
        """The metric of one target, float64; `statistics` has what `needs` says, `weight` (m, n) is the matrix."""
        raise NotImplementedError

    def applies(self, weight: Tensor) -> bool:
        """Whether it says of this matrix anything that plain SVD does not."""
        return True

    def variant(self, sparsity: str) -> "Criterion":
        """The criterion with its own option set: only `sparsity` has one."""
        return self


def inputs(target: Target, statistics: Statistics, share: float) -> tuple[Tensor, Tensor | None]:
    """The second moment (n, n) of the inputs, shrunk by `share`, and the mean (n,) that the bias takes up.

    Centred where the target has a bias, which then absorbs the mean error of the outputs at no cost; else about zero.
    """
    assert statistics.covariance is not None
    assert statistics.mean is not None
    mean, moment = statistics.mean.double(), statistics.covariance.double()
    if not target.bias:
        return shrink(moment + torch.outer(mean, mean), share), None
    return shrink(moment, share), mean


def shrink(moment: Tensor, share: float) -> Tensor:
    """(1 - share) M + share mean(diag M) I (Ledoit and Wolf 2004): few data say little about rare directions."""
    shrunk = (1 - share) * moment
    shrunk.diagonal().add_(share * moment.diagonal().mean())
    return shrunk


criteria: Registry[Criterion] = Registry("criterion", "--criterion")
