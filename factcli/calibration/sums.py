"""Sums over many tokens, in float64 where it counts and in the tokens' own precision where it does not."""

import torch
from torch import Tensor

GRAM_BLOCK = 192  # wide enough that the products run at full speed
SUM_ROWS = 64  # few enough that their sums lose nothing in float32


def gram(x: Tensor) -> Tensor:
    """x^T x (n, n) of `x` (N, n), float64: products in x's own precision, hardly a block of the matrix twice, and a
    diagonal that is summed more precisely: the square of a feature that towers over the others is most of the matrix,
    and of its rounding."""
    n = x.shape[1]
    found = torch.empty(n, n, dtype=torch.float64, device=x.device)
    _gram_into(found, x)
    found.diagonal().copy_(column_sums(x.square()))
    return found


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
