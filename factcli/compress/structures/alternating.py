"""Alternating least squares for a grid of low-rank blocks that a Kronecker norm couples. All in float64.

No closed form is known for tr(G D C D^T) with D = W - X, X a grid of blocks L_ij R_ij. But X is linear in the left
factors of one row of blocks, and in the right factors of one column of blocks, with everything else fixed; and in each
of the two problems one side of the norm drops out:

* Row i. Its rows of X are L_i R_i, with L_i = [L_i1 ... L_ib] and R_i = diag(R_i1 ... R_ib). Completing the square,
  with T = W_i + G_ii^-1 sum over k != i of G_ik D_k, the optimum is L_i = T C R_i^T (R_i C R_i^T)^-1, without G.
* Column j, likewise with the roles exchanged: R_j = (L_j^T G L_j)^-1 L_j^T G T, without C.

Every step is an exact minimum over its factors, so that the error never rises. G times the left factors is kept up to
date, so that no step multiplies G by a whole matrix.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import solve_symmetric

SWEEPS = 100
TOLERANCE = 1e-4  # of the error, over one sweep


@dataclass(frozen=True)
class Point:
    """Factors left (b, b, m/b, r), right (b, b, r, n/b), and what G makes of the left ones: weighted[j, :, i] is G_.i
    L_ij, (b, m, b, r) as the steps read it; None without G."""

    left: Tensor
    right: Tensor
    weighted: Tensor | None

    def beyond(self, before: "Point", step: float) -> "Point":
        """As far again from `before`, times `step`."""
        weighted = None
        if self.weighted is not None and before.weighted is not None:
            weighted = torch.lerp(before.weighted, self.weighted, 1 + step)
        return Point(
            torch.lerp(before.left, self.left, 1 + step), torch.lerp(before.right, self.right, 1 + step), weighted
        )


class Grid:
    """One problem: W (m, n) with rows in the structure's order, and a norm in that order; None is the identity."""

    def __init__(self, w: Tensor, g: Tensor | None, c: Tensor | None, blocks: int) -> None:
        self.w, self.g, self.c, self.b = w, g, c, blocks
        self.rows, self.columns = w.shape[0] // blocks, w.shape[1] // blocks
        if g is not None:
            eye = torch.eye(self.rows, dtype=w.dtype, device=w.device)
            self.inverses = [solve_symmetric(g[i, :][:, i], eye) for i in self._slices(self.rows)]
            self.gw = g @ w
        # C_.j C_jj^-1: what the other columns' errors amount to in this one
        self.from_columns = (
            None if c is None else [solve_symmetric(c[j, :][:, j], c[j, :]).mT for j in self._slices(self.columns)]
        )

    def _slices(self, size: int) -> list[slice]:
        return [slice(k * size, (k + 1) * size) for k in range(self.b)]

    def point(self, left: Tensor, right: Tensor) -> Point:
        """The factors with what is kept beside them."""
        if self.g is None:
            return Point(left, right, None)
        b, _, _, rank = left.shape
        weighted = left.new_empty(b, len(self.g), b, rank)
        for i, rows in enumerate(self._slices(self.rows)):
            weighted[:, :, i] = self._columns(rows, left[i])
        return Point(left, right, weighted)

    def _columns(self, rows: slice, left: Tensor) -> Tensor:
        """G_.i times the left factors (b, m/b, r) of a row of blocks: (b, m, r)."""
        assert self.g is not None
        b, size, rank = left.shape
        return (self.g[:, rows] @ left.transpose(0, 1).reshape(size, b * rank)).view(-1, b, rank).transpose(0, 1)

    def difference(self, point: Point) -> Tensor:
        """D, W minus the matrix of the factors: (m, n)."""
        return self.w - (point.left @ point.right).transpose(1, 2).reshape(self.w.shape)

    def _weighted(self, point: Point, d: Tensor) -> Tensor:
        """G D (m, n)."""
        if point.weighted is None:
            return d
        right = point.right.transpose(0, 1).flatten(1, 2)
        return self.gw - (point.weighted.flatten(2) @ right).transpose(0, 1).reshape(self.w.shape)

    def error(self, point: Point, d: Tensor | None = None) -> float:
        """tr(G D C D^T); `d` is D where it is known."""
        d = self.difference(point) if d is None else d
        gd = self._weighted(point, d)
        return float((gd * (d if self.c is None else d @ self.c)).sum())

    def sweep(self, start: Point) -> tuple[Point, float]:
        """After one exact minimisation over every row and every column of blocks, and the error there."""
        left, right = start.left.clone(), start.right.clone()
        now = Point(left, right, None if start.weighted is None else start.weighted.clone())
        d = self.difference(now)
        gd = self._weighted(now, d)
        for i, rows in enumerate(self._slices(self.rows)):
            t = self.w[rows]
            if self.g is not None:
                t = t + self.inverses[i] @ gd[rows] - d[rows]
            found = self._solve_row(t, right[i])
            if self.g is not None and now.weighted is not None:
                moved = self._columns(rows, found - left[i])
                now.weighted[:, :, i] += moved
                gd -= (moved @ right[i]).transpose(0, 1).reshape(self.w.shape)
            left[i] = found
            d[rows] = self.w[rows] - (found @ right[i]).transpose(0, 1).reshape(self.rows, -1)
        for j, columns in enumerate(self._slices(self.columns)):
            t = self.w[:, columns]
            if self.from_columns is not None:
                t = t + d @ self.from_columns[j] - d[:, columns]
            right[:, j] = self._solve_column(t, left[:, j], None if now.weighted is None else now.weighted[j])
            d[:, columns] = self.w[:, columns] - (left[:, j] @ right[:, j]).reshape(self.w.shape[0], -1)
        return now, self.error(now, d)

    def _solve_row(self, t: Tensor, right: Tensor) -> Tensor:
        b, rank, size = right.shape
        if self.c is None:  # the blocks of the row are independent
            return solve_symmetric(right @ right.mT, right @ t.view(-1, b, size).permute(1, 2, 0)).mT
        # C R^T block by block: R is block diagonal
        cr = (self.c.view(-1, b, size).transpose(0, 1) @ right.mT).permute(1, 0, 2)  # (n, b, r)
        gram = right @ cr.reshape(b, size, b * rank)
        found = solve_symmetric(gram.reshape(b * rank, b * rank), (t @ cr.reshape(-1, b * rank)).mT)
        return found.view(b, rank, -1).mT

    def _solve_column(self, t: Tensor, left: Tensor, weighted: Tensor | None) -> Tensor:
        b, size, rank = left.shape
        if weighted is None:
            return solve_symmetric(left.mT @ left, left.mT @ t.view(b, size, -1))
        gram = left.mT @ weighted.view(b, size, b * rank)
        found = solve_symmetric(gram.view(b * rank, b * rank), weighted.view(-1, b * rank).mT @ t)
        return found.view(b, rank, -1)


def descend(
    w: Tensor, g: Tensor | None, c: Tensor | None, left: Tensor, right: Tensor
) -> tuple[Tensor, Tensor, list[float]]:
    """Factors (b, b, m/b, r) and (b, b, r, n/b) from a start, and the error after each sweep, which never rises.

    Steps are extrapolated along the last change, which halves the number of sweeps (measured: 34 instead of 74 on
    384 x 384); where that would raise the error the plain step is taken. Stops once a sweep gains less than TOLERANCE
    of the error.
    """
    if w.shape[0] < w.shape[1]:  # products with G are the ones that are spared
        right, left, errors = descend(w.mT.contiguous(), c, g, right.transpose(0, 1).mT, left.transpose(0, 1).mT)
        return left.transpose(0, 1).mT, right.transpose(0, 1).mT, errors
    grid = Grid(w, g, c, len(left))
    before = grid.point(left, right)
    errors = [grid.error(before)]
    now, error = grid.sweep(before)
    ahead = 1.0
    for _ in range(SWEEPS):
        errors.append(error)
        if errors[-2] - errors[-1] <= TOLERANCE * errors[-1]:
            break
        found, lower = grid.sweep(now.beyond(before, ahead))
        if lower < error:
            ahead = min(1.3 * ahead, 8.0)
        else:
            ahead = max(0.5 * ahead, 0.3)
            found, lower = grid.sweep(now)
        before, now, error = now, found, lower
    return now.left, now.right, errors if errors[-1] == error else [*errors, error]
