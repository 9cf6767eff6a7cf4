"""Sums over many tokens, in float64 where it counts and in the tokens' own precision where it does not."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .products import fast_products

GRAM_BLOCK = 192  # wide enough that the products run at full speed
SUM_ROWS = 64  # few enough that their sums lose nothing in float32
FOLDED = 12000, 8  # rows that second moments are made of at least, and rows for each feature


class Gram:
    """The sum of x^T x (n, n), float64, over batches of rows `x` (N, n): products in x's own precision, hardly a block
    of the matrix twice, and a diagonal that is summed more precisely: the square of a feature that towers over the
    others is most of the matrix, and of its rounding."""

    def __init__(self, features: int, device: torch.device) -> None:
        self._upper = torch.zeros(features, features, dtype=torch.float64, device=device)
        self._squares = torch.zeros(features, dtype=torch.float64, device=device)

    def add(self, x: Tensor) -> None:
        with fast_products(x):
            _add_upper(self._upper, x)
        self._squares += column_sums(x.square())

    def whole(self) -> Tensor:
        """The sum."""
        found = self._upper.triu(1)
        found += found.T.clone()
        found.diagonal().copy_(self._squares)
        return found


def fold_width(tokens: int, features: int) -> int:
    """How many of `tokens` tokens become one row, for second moments of `features` features."""
    return max(1, tokens // max(FOLDED[0], FOLDED[1] * features))


def random_signs(generators: Sequence[torch.Generator], mask: Tensor) -> Tensor:
    """1 or -1 for each token of `mask` (B, T), drawn by the generator of its row from the first token on; 0 where the
    mask is 0."""
    length = mask.shape[1]
    drawn = torch.stack([torch.randint(0, 2, (length,), generator=g) for g in generators])
    return (drawn * 2 - 1).to(mask.device) * mask


class Fold:
    """Makes a row of every `width` neighbouring tokens of one text: their sum with the random `signs` (B, T), 0 where
    there is no token.

    A count sketch (Charikar, Chen and Farach-Colton 2002): as the signs are independent, the Gram matrix of the rows is
    that of the tokens in expectation, for one of `width` products, and every token adds to it: none that towers over
    the others, as a class token does in gradients, is ever missed. Of width 1: the tokens themselves.

    Attributes:
        there: (B, T) where there is a token.
        count: how many there are.
        own: (R, 1) the rows that a constant 1 gives.
    """

    def __init__(self, signs: Tensor, width: int) -> None:
        self.width, self.there = width, signs != 0
        self.count = int(self.there.sum())
        self._whole = self.count == self.there.numel()
        if width == 1:
            self.own = torch.ones(self.count, 1, device=signs.device)
            return
        self._short = -signs.shape[1] % width
        self._signs = F.pad(signs.float(), (0, self._short)).reshape(-1, 1, width)
        self.own = self._signs.sum(2)

    def rows(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """The rows (R, n) of `x` (B, T, n) less `shift` (n,)."""
        if self.width == 1:
            found = self._tokens(x)
            return found if shift is None else found - shift
        if not self._whole:  # what stands in padding may be anything
            x = torch.where(self.there.unsqueeze(-1), x, 0)
        if self._short:
            x = F.pad(x, (0, 0, 0, self._short))
        found = torch.bmm(self._signs, x.reshape(-1, self.width, x.shape[-1])).squeeze(1)
        return found if shift is None else found.addcmul_(self.own, shift, value=-1)

    def total(self, x: Tensor, shift: Tensor) -> Tensor:
        """The sum (n,) over all tokens of `x` (B, T, n) less `shift` (n,), float64."""
        return column_sums(self._tokens(x) - shift)

    def __call__(self, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        rows = self.rows(x, shift)
        return rows, column_sums(rows) if self.width == 1 else self.total(x, shift)

    def _tokens(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1]) if self._whole else x[self.there]


def centre(product: Tensor, left: Tensor, right: Tensor, along: tuple[Tensor, Tensor], weight: float) -> Tensor:
    """From the sum (m, n) over rows of a b^T, in its place, that of (a - s left)(b - s right)^T: of folds whose means
    `left` (m,) and `right` (n,) are taken off afterwards. `along` are the sums of s a and s b, `weight` that of s^2; s
    is `Fold.own`."""
    a, b = along
    return product.addr_(left, weight * right - b).addr_(a, right, alpha=-1)


def column_sums(x: Tensor) -> Tensor:
    """The sums (n,) of the columns of `x` (N, n), float64; a few rows at a time in x's own precision, which is many
    times as fast as all in float64."""
    whole = len(x) - len(x) % SUM_ROWS
    blocks = x[:whole].reshape(-1, SUM_ROWS, x.shape[1]).sum(1)
    return blocks.sum(0, dtype=torch.float64) + x[whole:].sum(0, dtype=torch.float64)


def _add_upper(total: Tensor, x: Tensor) -> None:
    """Of x^T x what is above the diagonal, and some of what is below."""
    n = x.shape[1]
    if n <= GRAM_BLOCK:
        total += x.T @ x
        return
    half = n // 2
    _add_upper(total[:half, :half], x[:, :half])
    _add_upper(total[half:, half:], x[:, half:])
    total[:half, half:] += x[:, :half].T @ x[:, half:]
