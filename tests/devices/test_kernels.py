"""The kernel of block layers: in Triton's interpreter everywhere, and itself where there is a GPU."""

import subprocess
import sys

import pytest
import torch

from factcli.remote_code import kernels_factorized as kernels
from factcli.remote_code.modeling_factorized import BlockLinear

from ..conftest import ROOT

# out, in, blocks, rank, tokens, bias: ranks and sizes that fill no tile, and tiles of every size
CASES = [
    (48, 96, 4, 6, 37, True), (96, 48, 2, 3, 5, False), (768, 192, 4, 25, 70, True), (60, 36, 3, 2, 1, True),
    (300, 64, 2, 70, 300, True), (32, 32, 4, 1, 0, True),
]  # fmt: skip
INTERPRETED = """
import sys
sys.path.insert(0, "")
import torch
from factcli.remote_code.kernels_factorized import block_product
from tests.devices.test_kernels import CASES, block, error

for case in CASES:
    for interleaved in (False, True):
        layer, x = block(case, interleaved)
        with torch.no_grad():
            expected = layer(x)
            found = block_product(x, layer.factor_in, layer.factor_out, layer.bias, interleaved)
        assert found is not None and found.shape == expected.shape
        assert error(found, expected) < 1e-6, (case, interleaved)
"""


def block(case: tuple[int, int, int, int, int, bool], interleaved: bool) -> tuple[BlockLinear, torch.Tensor]:
    m, n, blocks, rank, tokens, bias = case
    torch.manual_seed(0)
    layer = BlockLinear(n, m, rank, bias, blocks, interleaved)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer, torch.randn(tokens, n)


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double().cpu() - expected.double()).norm() / expected.norm().clamp(min=1e-30))


def test_interpreted(world: dict[str, str]) -> None:
    """Element by element what the layer says on a CPU."""
    pytest.importorskip("triton")
    environment = world | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("interleaved", [False, True])
@torch.no_grad()
def test_compiled(dtype: torch.dtype, interleaved: bool, device: str, on_gpu: bool) -> None:
    if not on_gpu:
        pytest.skip("Triton compiles for GPUs")
    for case in CASES:
        layer, x = block(case, interleaved)
        layer.to(dtype)
        expected = layer.double()(x.to(dtype).double())
        layer.to(device, dtype)
        x = x.to(device, dtype)
        assert kernels.usable(x)
        found = kernels.block_product(x, layer.factor_in, layer.factor_out, layer.bias, interleaved)
        assert found is not None
        assert found.isfinite().all()
        assert error(found, expected) < (2e-2 if dtype == torch.bfloat16 else 2e-3), case
        assert torch.equal(found, layer(x))
        assert error(layer(x.unsqueeze(0).expand(2, -1, -1))[1], expected) < 2e-2


def test_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """No C compiler, say: one warning, and plain products from then on."""

    def fail(*_: object) -> None:
        raise RuntimeError("Failed to find C compiler")

    layer, x = block(CASES[0], True)
    monkeypatch.setitem(kernels._state, "works", True)
    monkeypatch.setattr(kernels, "_block_product", fail)
    with pytest.warns(UserWarning, match="Failed to find C compiler"):
        assert kernels.block_product(x, layer.factor_in, layer.factor_out, layer.bias, True) is None
    assert not kernels._state["works"]
    assert not kernels.usable(x)
    torch.testing.assert_close(layer._forward_batched(x), layer(x))


def test_where_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on a CPU, not in float32, not for training, and not where the switch is off."""
    monkeypatch.setitem(kernels._state, "works", True)
    half = torch.zeros(2, 2, dtype=torch.bfloat16)
    with torch.no_grad():
        assert not kernels.usable(half)
        assert not kernels.usable(half.float())
