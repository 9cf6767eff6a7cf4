"""What a criterion is: what is known of a target -> its norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from ...calibration.statistics import Kind, Statistics
from ...recipe.fields import Options
from ...recipe.registry import Choice
from ...recipe.registry import criteria as criteria
from ...recipe.values import UNSEEN
from ..norms import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.targets import Target

FLOOR = 1e-4  # of the mean weight: what hardly matters in the sample may still matter


@dataclass(frozen=True)
class Evidence:
    """What a criterion judges by: the target, the `statistics` that it needs, and the matrix itself, (m, n)."""

    target: Target
    statistics: Statistics
    matrix: Tensor | None = None


class Criterion(Choice):
    """Turns what calibration gathered for a target into the norm that its projection minimises.

    `needs` are the statistics it reads; none means that it needs no data. `comparable` says whether errors of
    different targets are in one unit (of the loss), so that an allocation may add them up as they are; `exact` whether
    the nearest matrix of a rank is known in closed form, and with it the least error at every rank; `embeddings`
    whether it has a norm for those, where tokens that the texts do not have get the share `unseen` of all occurrences.
    """

    paper: ClassVar[str]
    needs: ClassVar[frozenset[Kind]] = frozenset()
    comparable: ClassVar[bool] = False
    exact: ClassVar[bool] = True
    embeddings: ClassVar[bool] = False
    unseen: float = UNSEEN

    @classmethod
    def made(cls, asked: Options) -> Self:
        made = super().made(asked)
        made.unseen = getattr(asked, "unseen_tokens", UNSEEN)
        return made

    @classmethod
    def reads_data(cls) -> bool:
        return bool(cls.needs)

    @classmethod
    def reads_inputs(cls) -> bool:
        return Kind.INPUTS in cls.needs

    @classmethod
    def reads_gradients(cls) -> bool:
        return bool(cls.needs & {Kind.GRADIENTS, Kind.FISHER})

    def norm(self, given: Evidence) -> Norm:
        """The norm of one target, float64."""
        raise NotImplementedError

    def applies(self, matrix: Tensor) -> bool:
        """Whether it says of this matrix anything that plain SVD does not."""
        return True


def inputs(given: Evidence, share: float, unseen: float) -> tuple[Tensor, Tensor | None]:
    """The second moment (n, n) of the inputs, shrunk by `share`, and the mean (n,) that the bias takes up.

    Centred where the target has a bias, which then absorbs the mean error of the outputs at no cost; else about zero.
    Of an embedding it is diagonal (n,): the frequencies of the tokens (see `frequencies` for `unseen`).
    """
    if given.target.embedding is not None:
        assert given.statistics.counts is not None
        return frequencies(given.statistics.counts, unseen), None
    assert given.statistics.covariance is not None
    assert given.statistics.mean is not None
    mean, moment = given.statistics.mean.double(), given.statistics.covariance.double()
    if not given.target.bias:
        return shrink(moment + mean.outer(mean), share), None
    return shrink(moment, share), mean


def frequencies(counts: Tensor, unseen: float) -> Tensor:
    """The share of each token among all, (n,): of their `counts` (n,), with a share `unseen` spread over all tokens
    alike, so that those that the texts do not have keep a vector of sense."""
    total = float(counts.sum())
    found = counts.double() * ((1 - unseen) / total) if total else counts.double()
    return found + (unseen if total else 1.0) / len(counts)


def shrink(moment: Tensor, share: float) -> Tensor:
    """(1 - share) M + share mean(diag M) I (Ledoit and Wolf 2004): few data say little about rare directions."""
    shrunk = (1 - share) * moment
    shrunk.diagonal().add_(share * moment.diagonal().mean())
    return shrunk


def floored(weight: Tensor) -> Tensor:
    """At least FLOOR of the mean; ones where nothing matters at all."""
    mean = float(weight.mean())
    return weight.clamp_min(FLOOR * mean) if mean > 0 else weight.new_ones(weight.shape)
