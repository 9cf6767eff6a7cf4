"""The grid of low-rank blocks nearest to a given matrix, in a norm; and what each unit of rank is worth.

W (m, n) is cut into b x b blocks (b = 1: plain low-rank) after its rows are taken in `order` (None: as they are).
"""

import torch
from torch import Tensor

from ..linalg import balance, truncated_svd
from ..norms import FROBENIUS, ElementwiseNorm, KroneckerNorm, Norm
from .alternating import descend
from .elementwise import fit, row_and_column
from .kronecker import raised, ridged, weighted_spectrum, weighted_svd


def project(w: Tensor, order: Tensor | None, rank: int, blocks: int, norm: Norm = FROBENIUS) -> tuple[Tensor, Tensor]:
    """Factors left (b, b, m/b, r) and right (b, b, r, n/b) of the grid nearest to `w`, float64, in `norm`; balanced.

    frobenius: each block's truncated SVD is optimal (Eckart and Young; for Monarch, Dao et al. 2022, theorem 1).
    Kronecker: for one block in closed form (`weighted_svd`); for more, each block by itself in closed form, then
    alternating least squares over all of them (`alternating`). Element-wise: numerically, by the norm's solver
    (`elementwise`), block by block, since the error is a sum over the blocks.
    """
    if isinstance(norm, ElementwiseNorm):
        left, right = fit(
            split(_rows(w, order), blocks), split(_rows(norm.weight.to(w), order), blocks), rank, norm.solver
        )
        return balance(left, right)
    if norm.plain:
        u, s, vh = truncated_svd(split(_rows(w, order), blocks), rank)
        root = s.sqrt()
        return u * root.unsqueeze(-2), root.unsqueeze(-1) * vh
    w, g, c = _ordered(w, *_parts(norm, w), order)
    found = balance(*weighted_svd(split(w, blocks), rank, *_diagonals(g, c, blocks)))
    if blocks == 1:
        return found
    g, c = (None if part is None else raised(part) for part in (g, c))  # the coupled steps invert their parts
    left, right, _ = descend(w, g, c, *found)
    return balance(left, right)


def gains(w: Tensor, order: Tensor | None, blocks: int, norm: Norm = FROBENIUS) -> Tensor:
    """What each unit of rank takes off the error of `w`: (min(m, n) / b,), largest first.

    A unit of rank is one more for every block. Exact for one block under a Kronecker norm. For more blocks it is the
    sum of their own spectra, in their own part of the norm, without the coupling between them; under an element-wise
    norm the spectra are in the Kronecker norm that has the same sums over rows and over columns. The sum of all gains
    is the error of leaving nothing, for one block under a Kronecker norm.
    """
    g, c = row_and_column(norm.weight.to(w)) if isinstance(norm, ElementwiseNorm) else _parts(norm, w)
    w, g, c = _ordered(w, g, c, order)
    return weighted_spectrum(split(w, blocks), *_diagonals(g, c, blocks)).sum((0, 1))


def split(w: Tensor, blocks: int) -> Tensor:
    """W (m, n) as its grid of blocks (b, b, m/b, n/b)."""
    m, n = w.shape
    return w.view(blocks, m // blocks, blocks, n // blocks).transpose(1, 2)


def joined(grid: Tensor, order: Tensor | None) -> Tensor:
    """The matrix (m, n) of a grid of blocks whose rows were taken in `order`."""
    b, _, rows, columns = grid.shape
    w = grid.transpose(1, 2).reshape(b * rows, b * columns)
    return w if order is None else torch.empty_like(w).index_copy_(0, order.to(w.device), w)


def _parts(norm: KroneckerNorm, w: Tensor) -> tuple[Tensor | None, Tensor | None]:
    g, c = norm.output, norm.input
    return None if g is None else ridged(g.to(w)), None if c is None else ridged(c.to(w))


def _rows(a: Tensor, order: Tensor | None) -> Tensor:
    return a if order is None else a[order.to(a.device)]


def _ordered(
    w: Tensor, g: Tensor | None, c: Tensor | None, order: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    if order is None:
        return w, g, c
    order = order.to(w.device)
    return w[order], None if g is None else g[order][:, order], c


def _diagonals(g: Tensor | None, c: Tensor | None, blocks: int) -> tuple[Tensor | None, Tensor | None]:
    """The diagonal blocks of G and of C, shaped to go with a grid of blocks."""
    gs = None if g is None else _diagonal(g, blocks).unsqueeze(1)
    cs = None if c is None else _diagonal(c, blocks).unsqueeze(0)
    return gs, cs


def _diagonal(a: Tensor, blocks: int) -> Tensor:
    """(b, k/b, k/b): the blocks on the diagonal of `a` (k, k)."""
    size = a.shape[0] // blocks
    return torch.stack([a[k * size : (k + 1) * size, k * size : (k + 1) * size] for k in range(blocks)])
