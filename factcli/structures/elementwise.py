"""Low-rank approximation under an element-wise weight, sum of weight * (W - L R)^2: numerically.

The problem has no closed form and is not convex (Srebro and Jaakkola 2003). Both solvers start from the row-weighted
solution (FWSVD), and keep the best factors they meet.

* `adam-sgd`: TFWSVD (Hua et al. 2022, Numerical Optimizations for Weighted Low-rank Estimation on Language Model)
  proposes Adam for a fast start and then SGD, with an analytically derived switching point. Its text could not be read,
  so the details are ours: full-batch gradients; step sizes relative to the factors; the switch and SGD's step as in
  SWATS (Keskar and Socher 2017, section 3: the step that SGD needs to cover the projection of Adam's on the gradient).
* `als`: weighted alternating least squares. With one factor fixed, each row of the other is a least-squares
  problem of its own, solved exactly, so that the error never rises. Deterministic and without a step size. The default:
  on two matrices of a fine-tuned MiniLM its eight sweeps left an error 0.3 % above that of 300 steps of Adam_SGD, in
  half to three quarters of the time (benchmarks/fisher_solvers.py).

Tensors are float64 and have leading batch dimensions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..linalg import balance
from ..registry import Registry
from .kronecker import weighted_svd

Solver = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
solvers: Registry[Solver] = Registry("solver", "--solver")
ROWS = 256  # solved at once: bounds the memory of their Gram matrices
CLIP = 1e-4  # weights below this share of their mean are raised to it, those above its inverse are lowered


def fit(w: Tensor, weight: Tensor, rank: int, solver: str = "als") -> tuple[Tensor, Tensor]:
    """Factors (..., m, r) and (..., r, n) with a small sum of weight * (w - left right)^2; all (..., m, n).

    Never worse than the row-weighted solution, from which it starts. Raises UsageError for an unknown solver.
    """
    solve = solvers[solver]
    weight = normalized(weight)
    return solve(w, weight, *start(w, weight, rank))


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


@solvers.register("als")
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


@solvers.register("adam-sgd")
def adam_sgd(
    w: Tensor, weight: Tensor, left: Tensor, right: Tensor, steps: int = 300, rate: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Factors after `steps` of Adam, then SGD, the best that were met; `rate` is Adam's, relative to the factors' size.

    The switch comes when SGD's own step size, averaged as Adam averages, agrees with its latest estimate to 1 %. SGD
    has momentum 0.9, and halves its step when the error rises.
    """
    scale = float((weight * w.square()).sum().clamp_min(torch.finfo(w.dtype).tiny))
    beta1, beta2 = 0.9, 0.999
    points = [t.clone() for t in balance(left, right)]
    sizes = [float(p.square().mean().sqrt()) or 1.0 for p in points]
    first, second = [torch.zeros_like(p) for p in points], [torch.zeros_like(p) for p in points]
    best, lowest = [p.clone() for p in points], float("inf")
    average, step, before = 0.0, 0.0, float("inf")
    for k in range(1, steps + 1):
        difference = points[0] @ points[1] - w
        weighted = weight * difference
        now = float((weighted * difference).sum()) / scale
        if now < lowest:
            best, lowest = [p.clone() for p in points], now
        gradients = [2 / scale * weighted @ points[1].mT, 2 / scale * points[0].mT @ weighted]
        if step > 0:
            if now > before:
                step, points = step / 2, [p.clone() for p in best]
                first = [torch.zeros_like(p) for p in points]
            else:
                first = [0.9 * v + g for v, g in zip(first, gradients, strict=True)]
                points = [p - step * v for p, v in zip(points, first, strict=True)]
            before = now
            continue
        moves = []
        for i, g in enumerate(gradients):
            first[i].lerp_(g, 1 - beta1)
            second[i].lerp_(g.square(), 1 - beta2)
            mean, spread = first[i] / (1 - beta1**k), (second[i] / (1 - beta2**k)).sqrt()
            moves.append(-rate * sizes[i] * mean / (spread + 1e-12))
        points = [p + d for p, d in zip(points, moves, strict=True)]
        along = -sum(float((d * g).sum()) for d, g in zip(moves, gradients, strict=True))
        if along > 0:
            estimate = sum(float(d.square().sum()) for d in moves) / along
            average = beta2 * average + (1 - beta2) * estimate
            settled = average / (1 - beta2**k)
            if k > 1 and abs(settled - estimate) < 0.01 * settled:
                step, before = (1 - beta1) * settled, float("inf")
                first = [torch.zeros_like(p) for p in points]
    return best[0], best[1]


def _solve(w: Tensor, weight: Tensor, right: Tensor) -> Tensor:
    """Row i: (R diag(weight_i) R^T)^-1 R diag(weight_i) w_i; (..., m, r)."""
    rank, n = right.shape[-2:]
    products = (right.unsqueeze(-2) * right.unsqueeze(-3)).reshape(*right.shape[:-2], rank * rank, n)
    eye = torch.eye(rank, dtype=w.dtype, device=w.device)
    found = []
    for rows, weights in zip(torch.split(w, ROWS, -2), torch.split(weight, ROWS, -2), strict=True):
        gram = (weights @ products.mT).reshape(*weights.shape[:-1], rank, rank)
        ridge = 1e-10 * gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(w.dtype).tiny)
        low, _ = torch.linalg.cholesky_ex(gram + ridge[..., None, None] * eye)
        found.append(torch.cholesky_solve(((weights * rows) @ right.mT).unsqueeze(-1), low).squeeze(-1))
    return torch.cat(found, -2)
