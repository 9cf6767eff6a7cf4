"""Products of float32 matrices on a CPU, by whichever of torch's libraries is faster on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.cpus import instructions


@cache
def _by_onednn() -> bool:
    return "avx512" in instructions() and "amx" not in instructions()


@contextmanager
def fast_products(like: Tensor) -> Iterator[None]:
    """Within it float32 matrices that are where `like` is are multiplied by oneDNN, if that is a CPU on which it is
    faster and no less exact. On a GPU nothing changes: the same words would mean TF32 there.

    MKL leaves AVX-512 alone on processors that are not Intel's and takes twice as long there. What torch calls medium
    precision hands products to oneDNN, which computes them in float32 all the same: bfloat16 pays only with AMX, where
    products stay as they are. Not for attention: many small products take oneDNN several times as long.
    """
    before = torch.get_float32_matmul_precision()
    if like.device.type != "cpu" or not _by_onednn() or before != "highest":  # the other words are the user's own
        yield
        return
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Linear(torch.autograd.Function):
    """F.linear whose matrix needs no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(w)
        with fast_products(x):
            return F.linear(x, w, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (w,) = ctx.saved_tensors
        with fast_products(w):
            return gradients[0] @ w, None, None


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:  # as torch names it: callers may
    found: Tensor = _Linear.apply(input, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return found


def make_fast(model: nn.Module) -> None:
    """From now on the linear layers of a model whose parameters need no gradients use `fast_products`."""
    if _by_onednn():
        for layer in model.modules():
            if type(layer) is nn.Linear:
                layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
