"""The matrix of a structure nearest to a given one, in a metric; and what each unit of rank is worth."""

import torch
from torch import Tensor

from ..linalg import balance, truncated_svd
from ..norms import FROBENIUS, ElementwiseMetric, KroneckerMetric, Metric
from .alternating import descend
from .base import Factors, Structure
from .elementwise import fit, row_and_column
from .kronecker import raised, ridged, weighted_spectrum, weighted_svd


def project(
    w: Tensor, structure: Structure, rank: int, blocks: int, metric: Metric = FROBENIUS, solver: str = "cg"
) -> Factors:
    """Factors of the structured matrix nearest to `w` (m, n), float64, in `metric`; balanced.

    frobenius: each block's truncated SVD is optimal (Eckart and Young; for Monarch, Dao et al. 2022, theorem 1).
    Kronecker: for one block in closed form (`weighted_svd`); for more, each block by itself in closed form, then
    alternating least squares over all of them (`alternating`). Element-wise: numerically by `solver` (`elementwise`),
    block by block, since the error is a sum over the blocks.
    """
    if isinstance(metric, ElementwiseMetric):
        left, right = fit(structure.split(w, blocks), structure.split(metric.weight.to(w), blocks), rank, solver)
    elif metric.plain:
        u, s, vh = truncated_svd(structure.split(w, blocks), rank)
        root = s.sqrt()
        return Factors(u * root.unsqueeze(-2), root.unsqueeze(-1) * vh)
    else:
        left, right = _kronecker(w, structure, rank, blocks, metric)
    return Factors(*balance(left, right))


def gains(w: Tensor, structure: Structure, blocks: int, metric: Metric = FROBENIUS) -> Tensor:
    """What each unit of rank takes off the error of `w` (m, n): (max_rank,), largest first.

    A unit of rank is one more for every block. Exact for one block under a Kronecker metric. For more blocks it is the
    sum of their own spectra, in their own part of the metric, without the coupling between them; under an element-wise
    metric the spectra are in the Kronecker metric that has the same sums over rows and over columns. The sum of all
    gains is the error of leaving nothing, for one block under a Kronecker metric.
    """
    g, c = row_and_column(metric.weight.to(w)) if isinstance(metric, ElementwiseMetric) else _parts(metric, w)
    gs, cs = _block_parts(structure, g, c, w.shape[0], blocks)
    spectra = weighted_spectrum(structure.split(w, blocks), gs, cs)
    return spectra.sum((0, 1))


def _kronecker(
    w: Tensor, structure: Structure, rank: int, blocks: int, metric: KroneckerMetric
) -> tuple[Tensor, Tensor]:
    g, c = _parts(metric, w)
    gs, cs = _block_parts(structure, g, c, w.shape[0], blocks)
    left, right = weighted_svd(structure.split(w, blocks), rank, gs, cs)
    if blocks == 1:
        return left, right
    order = structure.row_order(w.shape[0], blocks)
    if order is not None:
        order = order.to(w.device)
        w, g = w[order], None if g is None else g[order][:, order]
    g, c = (None if part is None else raised(part) for part in (g, c))  # the coupled steps invert their parts
    left, right, _ = descend(w, g, c, *balance(left, right))
    return left, right


def _parts(metric: KroneckerMetric, w: Tensor) -> tuple[Tensor | None, Tensor | None]:
    g, c = metric.output, metric.input
    return None if g is None else ridged(g.to(w)), None if c is None else ridged(c.to(w))


def _block_parts(
    structure: Structure, g: Tensor | None, c: Tensor | None, rows: int, blocks: int
) -> tuple[Tensor | None, Tensor | None]:
    """The diagonal blocks of G in the structure's order and of C, shaped to go with a grid of blocks."""
    order = structure.row_order(rows, blocks)
    if g is not None and order is not None:
        g = g[order.to(g.device)][:, order.to(g.device)]
    gs = None if g is None else _diagonal(g, blocks).unsqueeze(1)
    cs = None if c is None else _diagonal(c, blocks).unsqueeze(0)
    return gs, cs


def _diagonal(a: Tensor, blocks: int) -> Tensor:
    """(b, k/b, k/b): the blocks on the diagonal of `a` (k, k)."""
    size = a.shape[0] // blocks
    return torch.stack([a[k * size : (k + 1) * size, k * size : (k + 1) * size] for k in range(blocks)])
