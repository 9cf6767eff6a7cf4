"""What calibration gathers for a target."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FISHER = ("sampled", "empirical")


class Kind(StrEnum):
    """What a criterion may ask for; the last two need gradients."""

    INPUTS = "inputs"
    GRADIENTS = "gradients"
    FISHER = "fisher"


@dataclass(frozen=True)
class Statistics:
    """Statistics of one target W (m, n), float32; those that were not asked for are None.

    Attributes:
        mean: (n,) the mean input, over the tokens.
        covariance: (n, n) the second moment of the inputs about their mean.
        gradients: (m, m) the second moment of the gradients of the loss with respect to the outputs, summed over the
            tokens of an example and averaged over the examples. Times `covariance`, as a Kronecker product, it is an
            approximation of the Fisher information of W, in units of loss (Martens and Grosse 2015, K-FAC).
        fisher: (m, n) the mean over the examples of the squared gradient of the loss with respect to W.
        counts: (n,) of an embedding, which has neither mean nor covariance: how often each token occurs, in all of the
            texts.
        tokens: How many tokens the target saw, without padding; 0 where neither inputs nor gradients were asked for.
    """

    tokens: int
    mean: Tensor | None = None
    covariance: Tensor | None = None
    gradients: Tensor | None = None
    fisher: Tensor | None = None
    counts: Tensor | None = None
