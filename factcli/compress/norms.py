"""What a criterion yields for one target: the norm in which an error in its matrix is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class KroneckerNorm:
    """error(D) = tr(G D C D^T) for an error D (m, n); G (m, m) and C (n, n) are symmetric, None is the identity. Of
    an embedding, whose inputs are one-hot, C is diagonal, and `input` is that diagonal (n,).

    `mean` (n,) is the mean input of the target where C is centred: the norm then holds for a layer whose bias takes up
    D mean, the mean of the change in its outputs.
    """

    output: Tensor | None = None
    input: Tensor | None = None
    mean: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether the error is the squared Frobenius norm."""
        return self.output is None and self.input is None

    def error(self, difference: Tensor) -> float:
        """The squared error of `difference` (m, n), float64."""
        left = difference if self.output is None else self.output.to(difference) @ difference
        right = difference
        if self.input is not None:
            c = self.input.to(difference)
            right = difference * c if c.ndim == 1 else difference @ c
        return max(0.0, float((left * right).sum()))  # below it is rounding


@dataclass(frozen=True, eq=False)
class ElementwiseNorm:
    """error(D) = sum of weight * D^2, with a weight (m, n) >= 0 for each entry. The nearest matrix of a rank is found
    numerically, by `solver` (see structures/elementwise)."""

    weight: Tensor
    solver: str = "cg"

    def error(self, difference: Tensor) -> float:
        """The squared error of `difference` (m, n), float64."""
        return float((self.weight.to(difference) * difference.square()).sum())


Norm = KroneckerNorm | ElementwiseNorm
FROBENIUS = KroneckerNorm()
