"""K-FAC: the change of the loss, to second order, by the moments of inputs and of output gradients."""

from ...calibration.statistics import Kind
from ..norms import KroneckerNorm, Norm
from .base import Criterion, Evidence, criteria, inputs, shrink

SHRINK_INPUTS = 0.02
SHRINK_GRADIENTS = 0.1


@criteria.register
class Kfac(Criterion):
    """tr(G D C D^T) with G the second moment of the gradients of the outputs and C that of the inputs.

    Twice the rise of the loss, to second order, where inputs and gradients are independent (Martens and Grosse 2015,
    section 3): in one unit for all targets. OBD-LLM (Li et al. 2026) and IO-SVD (Abbasi et al. 2026) are this form for
    language models. C is about the mean where a bias takes it up. Both are shrunk towards a multiple of the identity.
    """

    name = "kfac"
    title = "two-sided (K-FAC) SVD"
    paper = "Martens and Grosse 2015, Optimizing Neural Networks with Kronecker-factored Approximate Curvature"
    needs = frozenset({Kind.INPUTS, Kind.GRADIENTS})
    comparable = True
    embeddings = True

    def norm(self, given: Evidence) -> Norm:
        assert given.statistics.gradients is not None
        outputs = shrink(given.statistics.gradients.double(), SHRINK_GRADIENTS)
        return KroneckerNorm(outputs, *inputs(given, SHRINK_INPUTS, self.unseen))
