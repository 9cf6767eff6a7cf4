"""Activation: the error of the outputs on real inputs."""

from ...calibration.statistics import Kind
from ..norms import KroneckerNorm, Norm
from .base import Criterion, Evidence, criteria, inputs

SHRINK = 0.1  # only where there are fewer tokens than features


@criteria.register
class Activation(Criterion):
    """E |(W - W') x|^2 over the calibration tokens, after the bias has taken up the mean.

    Inputs are weighted by their second moment, as in DRONE and SVD-LLM, but about their mean (where there is a bias):
    b' = b + (W - W') mean(x) is the best bias, and costs nothing.
    """

    name = "activation"
    title = "activation-aware SVD"
    paper = (
        "Chen et al. 2021, DRONE: Data-aware Low-rank Compression for Large NLP Models; Wang et al. 2025, SVD-LLM: "
        "Truncation-aware Singular Value Decomposition for Large Language Model Compression"
    )
    needs = frozenset({Kind.INPUTS})
    embeddings = True

    def norm(self, given: Evidence) -> Norm:
        few = given.statistics.tokens < given.target.shape[1]
        return KroneckerNorm(None, *inputs(given, SHRINK if few else 0.0, self.unseen))
