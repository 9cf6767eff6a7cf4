"""Block layers in graphs that others run: plain products by two-dimensional constants, and eager's outputs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from factcli.remote_code.modeling_factorized import BlockLinear
from factcli.runtimes.graph import split_constants

BOTH = pytest.mark.parametrize("interleaved", [False, True], ids=["block-low-rank", "monarch"])
LEADS = [(1, 1), (3, 7), (64, 512)]
DYNAMIC = ({0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", max=512)},)


def made(
    interleaved: bool, bias: bool = True, blocks: int = 4, shape: tuple[int, int] = (48, 80), rank: int = 3
) -> BlockLinear:
    layer = BlockLinear(shape[1], shape[0], rank, bias, blocks, interleaved).requires_grad_(False)
    if layer.bias is not None:
        nn.init.normal_(layer.bias)
    return layer


def check(run: Any, layer: BlockLinear) -> None:
    """On few tokens and on many, more than eager runs at a time."""
    for lead in LEADS:
        x = torch.randn(*lead, layer.in_features)
        torch.testing.assert_close(torch.as_tensor(run(x)), layer(x), rtol=1e-5, atol=2e-6)


@BOTH
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("blocks", "shape"), [(2, (48, 80)), (4, (80, 48)), (8, (64, 64))])
def test_torch_export_has_plain_products(interleaved: bool, bias: bool, blocks: int, shape: tuple[int, int]) -> None:
    layer = made(interleaved, bias, blocks, shape)
    program = torch.export.export(layer, (torch.randn(2, 5, shape[1]),), dynamic_shapes=DYNAMIC, strict=bias)
    called = [n for n in program.graph.nodes if n.op == "call_function"]
    assert not [n for n in called if n.target in (torch.ops.aten.bmm.default, torch.ops.aten.matmul.default)]
    products = [n for n in called if n.target == torch.ops.aten.linear.default]
    assert len(products) == 2 * blocks
    assert all(n.args[1].meta["val"].ndim == 2 for n in products)
    check(program.module(), layer)


@BOTH
@pytest.mark.parametrize("bias", [True, False])
def test_trace_has_plain_products(interleaved: bool, bias: bool) -> None:
    layer = made(interleaved, bias)
    traced: Any = torch.jit.trace(layer, torch.randn(2, 5, layer.in_features))  # type: ignore[no-untyped-call]
    assert "aten::bmm" not in str(traced.graph)
    check(traced, layer)


@BOTH
def test_compiled_for_pytorch_is_two_batched_products(interleaved: bool) -> None:
    layer, seen = made(interleaved), []

    def backend(module: torch.fx.GraphModule, _: Any) -> Any:
        seen.extend(n.target for n in module.graph.nodes)
        return module

    check(torch.compile(layer, backend=backend, fullgraph=True, dynamic=True), layer)
    assert torch.bmm in seen
    assert nn.functional.linear not in seen


@BOTH
@pytest.mark.filterwarnings("ignore")  # of the exporter's own parts
def test_onnx_has_plain_products_that_runtimes_compute(interleaved: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    ort = pytest.importorskip("onnxruntime")
    # Of a size that the exporter does not fold constants of (factor_in), and of one that it does (factor_out).
    layer, file = made(interleaved, shape=(96, 192), rank=11), tmp_path / "model.onnx"
    assert layer.factor_out.numel() < 8192 < layer.factor_in.numel()
    torch.onnx.export(
        layer, (torch.randn(2, 5, layer.in_features),), file, dynamo=True, dynamic_shapes=DYNAMIC,
        external_data=False, verbose=False,
    )  # fmt: skip
    held = sum(math.prod(t.dims) for t in onnx.load(file).graph.initializer if len(t.dims) > 1)
    assert held == layer.factor_in.numel() + layer.factor_out.numel()  # not twice

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # what quantizers start from
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    check(lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})[0], layer)
    folded = onnx.load(tmp_path / "folded.onnx").graph
    constants = {t.name: len(t.dims) for t in folded.initializer}
    products = [n for n in folded.node if n.op_type in ("MatMul", "Gemm", "FusedMatMul")]
    assert [constants.get(n.input[1]) for n in products] == [2] * 2 * layer.blocks
    assert [n.op_type for n in folded.node].count("Transpose") == 1 + interleaved  # one between the products

    openvino = pytest.importorskip("openvino")
    run = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    check(lambda x: run([x.numpy()])[0], layer)


@BOTH
@pytest.mark.filterwarnings("ignore")
def test_every_weight_goes_to_8_bits(interleaved: bool, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    quantization = pytest.importorskip("onnxruntime.quantization")
    layer, file, small = made(interleaved, shape=(192, 192), rank=16), tmp_path / "model.onnx", tmp_path / "int8.onnx"
    x = torch.randn(2, 5, layer.in_features)
    program = torch.onnx.export(layer, (x,), dynamo=True, dynamic_shapes=DYNAMIC, verbose=False)
    assert program is not None
    split_constants(program)
    program.save(file)
    quantization.quantize_dynamic(file, small, op_types_to_quantize=["MatMul"], per_channel=True)
    kinds = [n.op_type for n in onnx.load(small).graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul")) == (2 * layer.blocks, 0)
    weights = layer.factor_in.numel() + layer.factor_out.numel()
    assert file.stat().st_size < 4 * weights + 30_000  # each once
    assert small.stat().st_size < weights + 60_000
