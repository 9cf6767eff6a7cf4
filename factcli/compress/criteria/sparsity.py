"""The pattern that pruning left: what survived tells what matters (LPAF)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...recipe.fields import option
from ...recipe.rules import Rule, unless
from ..norms import FROBENIUS, ElementwiseNorm, KroneckerNorm, Norm
from .base import Criterion, Evidence, criteria, floored
from .fisher import SolverOptions

if TYPE_CHECKING:
    from torch import Tensor


class SparsityOptions(SolverOptions):
    """How survivors are counted."""

    sparsity: str = option(
        "l0", "What counts of a row: survivors (l0), their sizes (l1), their norm (l2), or of entries each by itself.",
        known=("l0", "l1", "l2", "entries"), quiet=True,
    )  # fmt: skip


@criteria.register
class Sparsity(Criterion):
    """An output counts as much as pruning left of its row: sum of d_i^2 (W - W')_ij^2, with d_i the number of entries
    that survive in row i ("l0"), or the sum of their sizes ("l1"), or their norm ("l2"). "entries" weighs survivors
    alone.

    The solution for rows is the SVD of D W, with D^-1 folded into the last factor. How the paper weighs could not be
    read; these are the plausible ways, and a matrix without zeros is projected as by plain SVD.
    """

    name = "sparsity"
    title = "sparsity-aware SVD"
    paper = "Ren and Zhu 2024, Low-Rank Prune-And-Factorize for Language Model Compression"
    options = SparsityOptions
    own: SparsityOptions
    rules = (
        Rule(
            ("solver",),
            lambda v: unless(v["sparsity"] == "entries", "with --criterion sparsity, which has a closed form"),
            "take --criterion fisher",
            ("criterion", "sparsity"),
        ),
    )

    def applies(self, matrix: Tensor) -> bool:
        return bool((matrix == 0).any())

    def norm(self, given: Evidence) -> Norm:
        matrix = given.matrix
        assert matrix is not None
        if not self.applies(matrix):
            return FROBENIUS
        survives = (matrix != 0).double()
        if self.own.sparsity == "entries":
            return ElementwiseNorm(floored(survives), self.own.solver)
        rows = {"l0": survives.sum(1), "l1": matrix.double().abs().sum(1), "l2": matrix.double().norm(dim=1)}
        return KroneckerNorm(floored(rows[self.own.sparsity].square()).diag())
