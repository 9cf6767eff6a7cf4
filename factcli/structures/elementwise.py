"""Low-rank approximation under an element-wise weight, sum of weight * (W - L R)^2: numerically.

The problem has no closed form and is not convex (Srebro and Jaakkola 2003). Both solvers start from the row-weighted
solution (FWSVD), and keep the best factors they meet.

* `adam_sgd`: TFWSVD (Hua et al. 2022, Numerical Optimizations for Weighted Low-rank Estimation on Language Model)
  proposes Adam for a fast start and then SGD, with an analytically derived switching point. Its text could not be read,
  so the details are ours: full-batch gradients; step sizes relative to the factors; the switch and SGD's step as in
  SWATS (Keskar and Socher 2017, section 3: the step that SGD needs to cover the projection of Adam's on the gradient).
* `alternate`: weighted alternating least squares. With one factor fixed, each row of the other is a least-squares
  problem of its own, solved exactly, so that the error never rises. Deterministic and without a step size.

Tensors are float64 and have leading batch dimensions.
"""

import torch
from torch import Tensor

from .kronecker import weighted_svd

CLIP = 1e-4  # weights below this share of their mean are raised to it, those above its inverse are lowered


def fit(w: Tensor, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors (..., m, r) and (..., r, n) with a small sum of weight * (w - left right)^2; all (..., m, n)."""
    weight = normalized(weight)
    left, right = start(w, weight, rank)
    return alternate(w, weight, left, right)


def normalized(weight: Tensor) -> Tensor:
    """`weight` over its mean, clipped to [CLIP, 1 / CLIP]; ones where it is zero everywhere."""
    mean = weight.mean((-2, -1), keepdim=True)
    return torch.where(mean > 0, weight / mean.clamp_min(torch.finfo(weight.dtype).tiny), 1.0).clamp(CLIP, 1 / CLIP)


def row_and_column(weight: Tensor) -> tuple[Tensor, Tensor]:
    """G (m, m) and C (n, n), diagonal, such that G C has the sums of `weight` (m, n) over its rows and its columns."""
    total = weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
    return torch.diag(weight.sum(1)), torch.diag(weight.sum(0) / total)


def start(w: Tensor, weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The solution for weights that are shared over the outputs (FWSVD)."""
    return weighted_svd(w, rank, None, torch.diag_embed(weight.mean(-2)))


def error(w: Tensor, weight: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The error of each problem of the batch."""
    return (weight * (w - left @ right).square()).sum((-2, -1))


def alternate(w: Tensor, weight: Tensor, left: Tensor, right: Tensor, sweeps: int = 8) -> tuple[Tensor, Tensor]:
    """Factors after alternating exact minimisations."""
    last = error(w, weight, left, right).sum()
    for _ in range(sweeps):
        left = _solve(w, weight, right)
        right = _solve(w.mT, weight.mT, left.mT).mT
        now = error(w, weight, left, right).sum()
        if last - now <= 1e-3 * now:
            break
        last = now
    return left, right


def _solve(w: Tensor, weight: Tensor, right: Tensor) -> Tensor:
    """Row i: (R diag(weight_i) R^T)^-1 R diag(weight_i) w_i; (..., m, r)."""
    rank, n = right.shape[-2:]
    products = (right.unsqueeze(-2) * right.unsqueeze(-3)).reshape(*right.shape[:-2], rank * rank, n)
    gram = (weight @ products.mT).reshape(*w.shape[:-1], rank, rank)
    side = (weight * w) @ right.mT
    ridge = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(w.dtype).tiny)
    gram = gram + ridge[..., None, None] * torch.eye(rank, dtype=w.dtype, device=w.device)
    low, _ = torch.linalg.cholesky_ex(gram)
    return torch.cholesky_solve(side.unsqueeze(-1), low).squeeze(-1)
