"""What the layers replaced before a target did to its inputs, and the matrix that answers for it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .products import fast_products
from .sums import Fold, Gram, centre, column_sums

ANCHOR = 0.5  # weight of the dense model's outputs against what the dense matrix makes of the inputs as they are
RIDGE = 0.02  # of the mean variance
CONSTANT = 1e-10  # of the mean square: a variance below it is that of rounding in float32


@dataclass(frozen=True)
class Drift:
    """Moments over the tokens, float64, of the inputs y now of a target W (m, n) and of what it should give, z.

    That is what W made of its inputs x in the dense model, without its bias, and, where its output is added to the
    residual stream, what that has lost until there besides.

    Attributes:
        wanted: (m,) the mean of z.
        after: (n,) the mean of y.
        covariance: (n, n) the second moment of y about its mean.
        cross: (m, n) E (z - wanted)(y - after)^T.
    """

    wanted: Tensor
    after: Tensor
    covariance: Tensor
    cross: Tensor

    def through(self, w: Tensor) -> "Drift":
        """Of z before the matrix `w` (m, n), such as inputs, that behind it."""
        return replace(self, wanted=w @ self.wanted, cross=w @ self.cross)


def measure_drift(batches: Iterable[tuple[Tensor, Tensor, Tensor]], width: int = 1) -> Drift:
    """Of batches: y (B, T, n), z (B, T, m), and the random signs of the tokens (B, T). Second moments are of folds (see
    `sums.Fold`) of `width`.
    """
    count, weight = 0, 0.0
    first: list[Tensor] = []
    for y, z, signs in batches:
        fold = Fold(signs, width)
        if not first:  # about these no digits are lost to outlying features
            first = [v[fold.there].mean(0) for v in (y, z)]
            second = Gram(y.shape[-1], y.device)
            cross = torch.zeros(z.shape[-1], y.shape[-1], dtype=torch.float64, device=y.device)
            totals = [torch.zeros_like(v, dtype=torch.float64) for v in first]
            along_y, along_z = (v.clone() for v in totals)
        (y_rows, y_total), (z_rows, z_total) = fold(y, first[0]), fold(z, first[1])
        second.add(y_rows)
        with fast_products(y_rows):
            cross += z_rows.T @ y_rows
        for total, added in zip(totals, (y_total, z_total), strict=True):
            total += added
        along_y += column_sums(fold.own * y_rows)
        along_z += column_sums(fold.own * z_rows)
        weight += float(fold.own.double().square().sum())
        count += fold.count
    y, z = (total / count for total in totals)
    return Drift(
        first[1].double() + z, first[0].double() + y,
        centre(second.whole(), y, y, (along_y, along_y), weight) / count,
        centre(cross, z, y, (along_z, along_y), weight) / count,
    )  # fmt: skip


def compensated(w: Tensor, drift: Drift, centred: bool) -> Tensor:
    """The matrix (m, n), float64, to factorize instead of `w` where inputs have drifted from x to y.

    The factorized matrix W' should give what is wanted, z, and stay near the dense matrix: it minimises
    a E |z - W' y|^2 + (1 - a) E |(W - W') y|^2, a being ANCHOR. Completing the square this is E |(T - W') y|^2 and a
    constant, T = W + a (E z y^T - W E y y^T)(E y y^T)^-1, whatever the norm of the outputs. Moments are about the
    means where a bias takes those up (`centred`); the inverse has a ridge, so that rare directions change little.
    """
    moment, cross = drift.covariance.to(w), drift.cross.to(w)
    if not centred:
        wanted, after = drift.wanted.to(w), drift.after.to(w)
        moment, cross = moment + torch.outer(after, after), cross + torch.outer(wanted, after)
    spread = moment.diagonal().mean()
    if not float(spread) > CONSTANT * float(drift.after.square().mean()):
        return w  # inputs that never change say nothing of a matrix, and what is left of them is rounding
    missing = cross - w @ moment
    ridged = moment.clone()
    ridged.diagonal().add_(RIDGE * spread)
    return w + ANCHOR * torch.cholesky_solve(missing.mT, torch.linalg.cholesky(ridged)).mT
