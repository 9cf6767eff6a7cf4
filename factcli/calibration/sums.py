"""Sums over many tokens, in float64 where it counts and in the tokens' own precision where it does not."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

GRAM_BLOCK = 192  # wide enough that the products run at full speed
SUM_ROWS = 64  # few enough that their sums lose nothing in float32
FOLDED = 12000, 8  # rows that second moments are made of at least, and rows for each feature


def gram(x: Tensor) -> Tensor:
    """x^T x (n, n) of `x` (N, n), float64: products in x's own precision, hardly a block of the matrix twice, and a
    diagonal that is summed more precisely: the square of a feature that towers over the others is most of the matrix,
    and of its rounding."""
    n = x.shape[1]
    found = torch.empty(n, n, dtype=torch.float64, device=x.device)
    _gram_into(found, x)
    found.diagonal().copy_(column_sums(x.square()))
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
        own: (R, 1) the rows that a constant 1 gives.
    """

    def __init__(self, signs: Tensor, width: int) -> None:
        self.width, self.there = width, signs != 0
        if width == 1:
            self.own = torch.ones(int(self.there.sum()), 1, device=signs.device)
            return
        self.short = -signs.shape[1] % width
        both = torch.stack([signs.float(), self.there.float()])
        self.weights = F.pad(both, (0, self.short)).reshape(2, -1, width).transpose(0, 1)
        self.own, self.counts = self.weights.sum(2, keepdim=True).unbind(1)

    def __call__(self, x: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The rows (R, n) of `x` (B, T, n) less `shift` (n,), and the sums (n,) over all of its tokens, float64."""
        if self.width == 1:
            rows = x[self.there] if shift is None else x[self.there] - shift
            return rows, column_sums(rows)
        if self.short or not bool(self.there.all()):  # what stands in padding may be anything
            x = F.pad(torch.where(self.there.unsqueeze(-1), x, 0), (0, 0, 0, self.short))
        rows, sums = torch.bmm(self.weights, x.reshape(-1, self.width, x.shape[-1])).unbind(1)
        if shift is not None:
            rows, sums = rows - self.own * shift, sums - self.counts * shift
        return rows, sums.sum(0, dtype=torch.float64)


def centred(product: Tensor, left: Tensor, right: Tensor, along: tuple[Tensor, Tensor], weight: Tensor) -> Tensor:
    """The sum (m, n) over rows (a - s left)(b - s right)^T: of folds whose means `left` (m,) and `right` (n,) are taken
    off afterwards. `product` is the sum of a b^T, `along` are those of s a and s b, `weight` that of s^2; s is
    `Fold.own`."""
    a, b = along
    return product - torch.outer(left, b) - torch.outer(a, right) + weight * torch.outer(left, right)


def column_sums(x: Tensor) -> Tensor:
    """The sums (n,) of the columns of `x` (N, n), float64; a few rows at a time in x's own precision, which is many
    times as fast as all in float64."""
    whole = len(x) - len(x) % SUM_ROWS
    blocks = x[:whole].reshape(-1, SUM_ROWS, x.shape[1]).sum(1)
    return blocks.sum(0, dtype=torch.float64) + x[whole:].sum(0, dtype=torch.float64)


def _gram_into(found: Tensor, x: Tensor) -> None:
    n = x.shape[1]
    if n <= GRAM_BLOCK:
        found.copy_(x.T @ x)
        return
    half = n // 2
    _gram_into(found[:half, :half], x[:, :half])
    _gram_into(found[half:, half:], x[:, half:])
    found[:half, half:] = x[:, :half].T @ x[:, half:]
    found[half:, :half] = found[:half, half:].T
