"""Frobenius: all weights alike."""

from ..norms import FROBENIUS, Norm
from .base import Criterion, Evidence, criteria


@criteria.register
class Frobenius(Criterion):
    """The sum of squared differences; its projections are plain truncated SVDs."""

    name = "frobenius"
    title = "SVD"
    paper = "Eckart and Young 1936, The approximation of one matrix by another of lower rank"
    embeddings = True

    def norm(self, given: Evidence) -> Norm:
        return FROBENIUS
