"""Layers forward and backward against float64: as they are, under autocast, compiled, and as CUDA graphs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import factcli
from factcli.compress.structures import structures
from factcli.remote_code.embeddings_factorized import FactorizedEmbedding

from ..compress.made import make, project
from ..training_helpers import save_model

SHAPES = [(48, 96), (96, 48)]
NAMES = list(structures)
CASES = [pytest.param(name, shape, id=f"{name}-{shape[1]}to{shape[0]}") for name in NAMES for shape in SHAPES]
ALL = pytest.mark.parametrize(("name", "shape"), CASES)
TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
Outcome = dict[str, Tensor]


def layer(name: str, shape: tuple[int, int], device: str) -> nn.Module:
    """The projection of a random matrix, of rank 6 a matrix or block, in float64."""
    structure = make(name, 4)
    torch.manual_seed(0)
    tensors = project(torch.randn(shape, dtype=torch.float64), structure, 6)
    entry = {"structure": name, "shape": list(shape), "spec": structure.spec(6), "bias": True}
    bias = torch.randn(shape[0], dtype=torch.float64)
    return structure.module(entry, tensors, bias, torch.float64, torch.device(device))


def outcome(forward: Callable[[Tensor], Tensor], f: nn.Module, tokens: int = 37) -> Outcome:
    """What the layer says, and its gradients, for the same input and the same gradient of the output."""
    draw = torch.Generator().manual_seed(1)
    p = next(f.parameters())
    x = torch.randn(2, tokens, f.in_features, generator=draw, dtype=torch.float64)  # type: ignore[call-overload]
    g = torch.randn(2, tokens, f.out_features, generator=draw, dtype=torch.float64)  # type: ignore[call-overload]
    x = x.to(p.device, p.dtype).requires_grad_()
    f.zero_grad()
    y = forward(x)
    y.backward(g.to(p.device, y.dtype))
    grads = {name: q.grad for name, q in f.named_parameters() if q.grad is not None}
    assert x.grad is not None
    return {"y": y.detach(), "x": x.grad} | grads


def near(found: Outcome, exact: Outcome, tolerance: float) -> None:
    assert found.keys() == exact.keys()
    for name, t in exact.items():
        error = (found[name].double().cpu() - t.cpu()).norm() / t.norm()
        assert error < tolerance, f"{name}: {error:.2g}"


@ALL
@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float32", "float16", "bfloat16"])
def test_precisions(name: str, shape: tuple[int, int], dtype: torch.dtype, device: str) -> None:
    f = layer(name, shape, device)
    exact = outcome(f, f)
    f.to(dtype)
    near(outcome(f, f), exact, TOLERANCES[dtype])


@ALL
def test_float64_is_that_of_the_cpu(name: str, shape: tuple[int, int], device: str) -> None:
    on_device, on_cpu = layer(name, shape, device), layer(name, shape, "cpu")
    near(outcome(on_device, on_device), outcome(on_cpu, on_cpu), 1e-12)


@ALL
def test_under_autocast(name: str, shape: tuple[int, int], device: str) -> None:
    f = layer(name, shape, device)
    exact = outcome(f, f)
    f.float()
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        found = outcome(f, f)
    assert found["y"].dtype == torch.bfloat16
    near(found, exact, 3e-2)


@pytest.mark.parametrize("name", NAMES)
def test_compiled(name: str, device: str) -> None:
    torch.compiler.reset()
    f = layer(name, (48, 96), device).float()
    exact = outcome(f, f)
    near(outcome(torch.compile(f), f), {k: t.double() for k, t in exact.items()}, 1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_cuda_graphs(name: str, device: str, on_gpu: bool) -> None:
    if not on_gpu:
        pytest.skip("CUDA graphs need a GPU")
    f = layer(name, (48, 96), device).float()
    still = torch.randn(20, 96, device=device)
    for _ in range(2):
        f(still)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = f(still)
    for seed in range(3):
        x = torch.randn(20, 96, generator=torch.Generator().manual_seed(seed)).to(device)
        still.copy_(x)
        output.fill_(float("nan"))
        graph.replay()
        torch.testing.assert_close(output, f(x))


@pytest.mark.parametrize("compiled", [False, True])
def test_embeddings(compiled: bool, device: str) -> None:
    torch.compiler.reset()
    torch.manual_seed(0)
    exact = FactorizedEmbedding(24, 60, [10, 30, 20], [24, 8, 4]).double()
    for p in exact.parameters():
        nn.init.normal_(p)
    for rows in exact.rows:
        rows.weight.data[0] = 0  # type: ignore[union-attr, operator]
    ids = torch.randint(0, 60, (3, 17))
    expected, found = exact(ids), exact.float().to(device)
    forward = torch.compile(found) if compiled else found
    torch.testing.assert_close(forward(ids.to(device)).double().cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa", "flash_attention_2"])
def test_attention(attention: str, device: str, on_gpu: bool, tmp_path: Path) -> None:
    """Padding changes nothing, whatever computes the attention."""
    if attention == "flash_attention_2":
        pytest.importorskip("flash_attn")
        if not on_gpu:
            pytest.skip("flash attention needs a GPU")
    factcli.convert(str(save_model(tmp_path / "dense")), tmp_path / "small", method="monarch", blocks=2, keep=0.5)
    model = factcli.load(tmp_path / "small").to(device)  # type: ignore[arg-type]
    half = torch.bfloat16 if attention.startswith("flash") else torch.float32
    model.set_attn_implementation(attention)
    model.to(half)
    ids = torch.randint(4, 90, (2, 11), device=device)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.inference_mode():
        both = model(input_ids=ids, attention_mask=mask).last_hidden_state
        alone = model(input_ids=ids[1:, :6]).last_hidden_state
    tolerance = 5e-2 if half == torch.bfloat16 else 1e-4
    torch.testing.assert_close(both[1:, :6], alone, rtol=tolerance, atol=tolerance)
