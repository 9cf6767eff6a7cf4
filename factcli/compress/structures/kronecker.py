"""Low-rank approximation under a Kronecker norm tr(G D C D^T): in closed form for one block, by descent for a grid.

All tensors are float64 and may have leading batch dimensions.
"""

import torch
from torch import Tensor

RIDGE = 1e-9  # of the mean of the diagonal: breaks ties where a norm is singular
FLOOR = 1e-120  # of that mean, in a norm of zeros: its inverse is still a number


def ridged(c: Tensor) -> Tensor:
    """`c` (n, n), symmetric up to rounding, with a ridge far below what matters: directions that never occur in the
    data are then approximated as plain SVD would, instead of at random."""
    found = (c + c.mT).div_(2)
    found.diagonal().add_(_ridge(c))
    return found


def raised(c: Tensor) -> Tensor:
    """`c` (n, n), after `ridged`, with negative eigenvalues, which are rounding, raised to the ridge."""
    if int(torch.linalg.cholesky_ex(c)[1]) == 0:
        return c
    values, vectors = torch.linalg.eigh(c)
    found: Tensor = vectors * values.clamp_min(_ridge(c)) @ vectors.mT
    return found


def _ridge(c: Tensor) -> float:
    return RIDGE * float(c.diagonal().mean().clamp_min(FLOOR))


def root(g: Tensor) -> tuple[Tensor, Tensor]:
    """L and L^-T with G = L L^T for a symmetric G (..., m, m); negative eigenvalues, which are rounding, are raised."""
    low, info = torch.linalg.cholesky_ex(g)
    if not bool(info.any()):
        eye = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device).expand_as(g)
        return low, torch.linalg.solve_triangular(low, eye, upper=False).mT
    values, vectors = torch.linalg.eigh(g)
    values = values.clamp_min(RIDGE * values[..., -1:].clamp_min(torch.finfo(g.dtype).tiny)).sqrt()
    return vectors * values.unsqueeze(-2), vectors / values.unsqueeze(-2)


def _gram(w: Tensor, g: Tensor | None, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """L^T W C W^T L (m, m), whose eigenvalues are the squared singular values of L^T W S with C = S S^T; and L^-T."""
    a = (w if c is None else w @ c) @ w.mT
    if g is None:
        return a, None
    low, inverse = root(g)
    return low.mT @ a @ low, inverse


def weighted_spectrum(w: Tensor, g: Tensor | None, c: Tensor | None) -> Tensor:
    """What each unit of rank takes off tr(G W C W^T), largest first: (..., min(m, n))."""
    if w.shape[-2] > w.shape[-1]:
        return weighted_spectrum(w.mT, c, g)
    values: Tensor = torch.linalg.eigvalsh(_gram(w, g, c)[0])
    return values.flip(-1).clamp_min(0)


def weighted_svd(w: Tensor, rank: int, g: Tensor | None, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Factors (..., m, r) and (..., r, n) of the matrix of rank r nearest to `w` (..., m, n) in tr(G D C D^T).

    With G = L L^T and C = S S^T the error is |L^T D S|_F^2, so that the truncated SVD U s V^T of L^T W S is optimal:
    W' = L^-T U s V^T S^-1 (the optimum under a Kronecker-factored second-order loss; activation-aware methods such as
    DRONE, Chen et al. 2021, are G = I). Nothing is inverted on the input side: U are eigenvectors of L^T W C W^T L and
    W' = L^-T U U^T L^T W. For m > n the roles are exchanged, and with Z = S V / s both sides are free of inverses:
    W' = W Z Z^T W^T G W.
    """
    m, n = w.shape[-2:]
    if m <= n:
        a, inverse = _gram(w, g, c)
        u = torch.linalg.eigh(a).eigenvectors[..., -rank:]
        if g is None or inverse is None:
            return u, u.mT @ w
        left = inverse @ u
        return left, left.mT @ g @ w  # L^-1 G = L^T
    h = w.mT @ (w if g is None else g @ w)
    s, _ = root(c) if c is not None else (None, None)
    values, v = torch.linalg.eigh(h if s is None else s.mT @ h @ s)
    values, v = values[..., -rank:], v[..., -rank:]
    # Below this the eigenvalues are rounding, and so is what they would add.
    scale = values.clamp_min(1e-15 * values[..., -1:].clamp_min(torch.finfo(w.dtype).tiny)).sqrt()
    z = (v if s is None else s @ v) / scale.unsqueeze(-2)
    return w @ z, z.mT @ h
