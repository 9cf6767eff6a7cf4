"""Faster products of float32 matrices are as exact as torch's usual ones, and leave torch as it was."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from factcli.calibration import products
from factcli.calibration.products import fast_products, make_fast
from factcli.calibration.sums import Gram


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")


def test_a_gram_matrix_is_exact_to_float32() -> None:
    x = torch.randn(1500, 700, generator=torch.Generator().manual_seed(0)) + 1
    x[:, 3] *= 1000  # a feature that towers over the others
    exact = x.double().T @ x.double()
    found = Gram(700, x.device)
    for rows in x.split(500):
        found.add(rows)
    scale = exact.diagonal().sqrt()
    apart = (found.whole() - exact) / torch.outer(scale, scale)
    assert float(apart.abs().max()) < 1e-6
    assert torch.equal(found.whole(), found.whole().T)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_and_their_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(96, 128, bias).requires_grad_(False)
    x = torch.randn(4, 25, 96, requires_grad=True)
    up = torch.randn(4, 25, 128)
    exact = F.linear(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double())
    (slope,) = torch.autograd.grad(exact, x, up.double())
    make_fast(nn.Sequential(layer))
    found = layer(input=x)
    torch.testing.assert_close(found, exact.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(found, x, up)[0], slope.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_torch_is_left_as_it_was(fast: bool, before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_by_onednn", lambda: fast)
    torch.set_float32_matmul_precision(before)
    with fast_products(torch.empty(0)):
        assert torch.get_float32_matmul_precision() == ("medium" if fast and before == "highest" else before)
    assert torch.get_float32_matmul_precision() == before


def test_what_is_not_on_a_cpu_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the same setting allows TF32."""
    monkeypatch.setattr(products, "_by_onednn", lambda: True)
    with fast_products(torch.empty(0, device="meta")):
        assert torch.get_float32_matmul_precision() == "highest"
