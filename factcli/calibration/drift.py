"""What the layers replaced before a target did to its inputs, and the matrix that answers for it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import gram

ANCHOR = 0.5  # weight of the dense model's outputs against what the dense matrix makes of the inputs as they are
RIDGE = 0.02  # of the mean variance


@dataclass(frozen=True)
class Drift:
    """Moments over the tokens, float64, of the inputs x of the dense model and the inputs y now, for a target W (m, n).

    Attributes:
        before: (n,) the mean of x.
        after: (n,) the mean of y.
        covariance: (n, n) the second moment of y about its mean.
        cross: (m, n) E W (x - before)(y - after)^T.
    """

    before: Tensor
    after: Tensor
    covariance: Tensor
    cross: Tensor


def measure_drift(pairs: Iterable[tuple[Tensor, Tensor]], w: Tensor | None = None) -> Drift:
    """Of batches of tokens x and y, each (N, n); without `w` (m, n) that is the identity."""
    count = 0
    first: tuple[Tensor, Tensor] | None = None
    sums: list[Tensor] = []
    for x, y in pairs:
        if first is None:  # about these means the second moments lose no digits to outlying features
            first = x.mean(0), y.mean(0)
        x, y = x - first[0], y - first[1]
        outputs = x if w is None else x @ w.T
        found = [x.sum(0, dtype=torch.float64), y.sum(0, dtype=torch.float64), gram(y), (outputs.T @ y).double()]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        count += len(x)
    assert first is not None
    mean_x, mean_y, covariance, cross = (s / count for s in sums)
    mean_output = mean_x if w is None else w.double() @ mean_x
    return Drift(
        first[0].double() + mean_x, first[1].double() + mean_y,
        covariance - torch.outer(mean_y, mean_y), cross - torch.outer(mean_output, mean_y),
    )  # fmt: skip


def compensated(w: Tensor, drift: Drift, centred: bool) -> Tensor:
    """The matrix (m, n), float64, to factorize instead of `w` where inputs have drifted from x to y.

    The factorized matrix W' should give what the dense model gave, W x, and stay near the dense matrix: it minimises
    a E |W x - W' y|^2 + (1 - a) E |(W - W') y|^2, a being ANCHOR. Completing the square this is E |(T - W') y|^2 and a
    constant, T = W + a W (E x y^T - E y y^T)(E y y^T)^-1, whatever the metric of the outputs. Moments are about the
    means where a bias takes those up (`centred`); the inverse has a ridge, so that rare directions change little.
    """
    moment, cross = drift.covariance.to(w), drift.cross.to(w)
    if not centred:
        before, after = drift.before.to(w), drift.after.to(w)
        moment, cross = moment + torch.outer(after, after), cross + torch.outer(w @ before, after)
    ridge = RIDGE * moment.diagonal().mean().clamp_min(torch.finfo(w.dtype).tiny)
    low = torch.linalg.cholesky(moment + ridge * torch.eye(len(moment), dtype=w.dtype, device=w.device))
    return w + ANCHOR * torch.cholesky_solve((cross - w @ moment).mT, low).mT
