"""Fisher information shared over the outputs: one weight per input feature (FWSVD)."""

from ...calibration.statistics import Kind
from ..norms import KroneckerNorm, Norm
from .base import Criterion, Evidence, criteria, floored


@criteria.register
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

    def norm(self, given: Evidence) -> Norm:
        assert given.statistics.fisher is not None
        return KroneckerNorm(None, floored(given.statistics.fisher.double().mean(0)).diag())
