"""Fisher information of the weights, entry by entry (TFWSVD)."""

from ...calibration.statistics import Kind
from ...recipe.fields import Options, option
from ..norms import ElementwiseNorm, Norm
from .base import Criterion, Evidence, criteria, floored


class SolverOptions(Options):
    """Of the criteria whose projection has no closed form."""

    solver: str = option("cg", "How the nearest factors are found.", known=("cg", "adam-sgd"), quiet=True)


@criteria.register
class Fisher(Criterion):
    """One weight per entry: sum of I * (W - W')^2, twice the rise of the loss where the weights are independent.

    Solved numerically, starting from `fisher-rows`.
    """

    name = "fisher"
    title = "true Fisher-weighted SVD (TFWSVD)"
    paper = "Hua et al. 2022, Numerical Optimizations for Weighted Low-rank Estimation on Language Models"
    needs = frozenset({Kind.FISHER})
    comparable = True
    exact = False
    options = SolverOptions
    own: SolverOptions

    def norm(self, given: Evidence) -> Norm:
        assert given.statistics.fisher is not None
        return ElementwiseNorm(floored(given.statistics.fisher.double()), self.own.solver)
