"""Pivoted low-rank: W = C [I T] with its columns in an order that puts r of them, C, first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ... import remote_code
from ..norms import FROBENIUS, Norm
from .base import Structure, Tensors, structures

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1.1  # entry of T: near the least bound that can always be met, 1


@structures.register
class Pivoted(Structure):
    """Low-rank without its redundancy: r columns of the matrix of rank r, the pivots, and what each of the others takes
    of them. r (m + n - r) parameters for the same matrix as r (m + n) of low-rank.

    The form is that of an interpolative decomposition, of a matrix that a criterion has made low-rank already. Zhao et
    al. take rows of the matrix, and put outputs in order; columns leave the outputs, and the bias, as they are.
    """

    name = "pivoted"
    title = "Pivoted low-rank"
    paper = (
        "Zhao et al. 2025, Pivoting Factorization: A Compact Meta Low-Rank Representation of Sparsity for Efficient "
        "Inference in Large Language Models"
    )
    layer_file = remote_code.FOLDER / "modeling_pivoted.py"
    bias_name = "factor_out.bias"
    gradual = True

    def parameters(self, shape: tuple[int, int], rank: int) -> int:
        return rank * (sum(shape) - rank)

    def index_bytes(self, shape: tuple[int, int]) -> int:
        return 4 * shape[1]

    def gains(self, w: Tensor, norm: Norm = FROBENIUS) -> Tensor:
        from .projection import gains

        return gains(w, None, 1, norm)

    def project(self, w: Tensor, spec: Mapping[str, Any], norm: Norm = FROBENIUS) -> Tensors:
        from .projection import project

        left, right = project(w, None, spec["rank"], 1, norm)
        order, mix = interpolation(right[0, 0])
        columns = left[0, 0] @ right[0, 0][:, order[: len(mix)]]
        return {"order": order.int(), "factor_in.weight": mix, "factor_out.weight": columns}

    def dense(self, tensors: Tensors) -> Tensor:
        import torch

        columns, mix = tensors["factor_out.weight"], tensors["factor_in.weight"]
        ordered = torch.cat([columns, columns @ mix], 1)
        return torch.empty_like(ordered).index_copy_(1, tensors["order"].long(), ordered)


def interpolation(a: Tensor) -> tuple[Tensor, Tensor]:
    """An order (n,) of the columns of `a` (r, n), r <= n, and T (r, n - r) such that A[:, others] = A[:, pivots] T, the
    first r in the order being the pivots, and no entry of T is above LARGEST in size.

    Gaussian elimination with partial pivoting finds columns that are far from dependent, and never divides by what is
    small, so that `a` may be of any rank. While an entry of T is too large its column takes the place of the pivot that
    it belongs to, which multiplies the volume of the pivots by that entry, so that this ends (Goreinov et al. 2010, How
    to find a good submatrix).
    """
    import torch

    rank, count = a.shape
    factor, swaps = torch.linalg.lu_factor_ex(a.mT)[:2]
    order = torch.arange(count, device=a.device)
    for i, j in enumerate(swaps.tolist()):
        order[[i, j - 1]] = order[[j - 1, i]]
    basis = torch.empty_like(factor)  # (n, r): its columns span the rows of A
    basis[order] = factor.tril(-1) + torch.eye(count, rank, dtype=a.dtype, device=a.device)

    def solved() -> Tensor:
        found: Tensor = torch.linalg.solve(basis[order[:rank]].mT, basis[order[rank:]].mT)
        return found

    mix = solved()
    while mix.numel() and float((size := mix.abs()).max()) > LARGEST:
        i, j = divmod(int(size.argmax()), count - rank)
        order[[i, rank + j]] = order[[rank + j, i]]
        column, row = mix[:, j].clone(), mix[i] / mix[i, j]
        row[j] = 1 / column[i]
        column[i] -= 1
        mix[:, j], mix[i, j] = 0, 1
        mix -= torch.outer(column, row)
    order = torch.cat([order[:rank].sort().values, order[rank:].sort().values])
    return order, solved()
