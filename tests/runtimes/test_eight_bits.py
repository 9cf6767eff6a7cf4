"""What 8 bits take from a real factorized model, beside what the quantizers take that are given its files."""

from pathlib import Path

import nncf
import numpy as np
import openvino
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoTokenizer

from factcli.models.cpus import signed
from factcli.models.model import find_model
from factcli.runtimes import formats
from factcli.runtimes.graph import OPSET, graph_of
from factcli.runtimes.make import fit_of

from .conftest import INT8, texts

SENTENCES = [
    "The film is a moving story about two sisters.", "I would not watch it again!", "How do I bake bread?",
    "A man is riding a horse on the beach, near the old lighthouse.", "Stocks fell sharply on Tuesday.",
]  # fmt: skip


def rows(model: Path, of: list[str]) -> list[dict[str, np.ndarray]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [dict(tokenizer(text, return_tensors="np")) for text in of]


def lost(model: Path, file: Path) -> float:
    """The mean square of what the outputs of a file are off, of those of the float32 file."""
    name = file.suffix.strip(".").replace("xml", "openvino")
    exact, session = formats["onnx"].open(model / "onnx" / "model.onnx"), formats[name].open(file)
    pairs = [(exact.run(row), session.run(row)) for row in rows(model, SENTENCES)]
    key = "last_hidden_state"
    return float(
        sum(np.square(a[key] - b[key]).sum() for a, b in pairs) / sum(np.square(a[key]).sum() for a, _ in pairs)
    )


@pytest.fixture(scope="module")
def by_others(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model as the quantizers' own defaults make it, on the same texts."""
    folder, source = tmp_path_factory.mktemp("others"), find_model(str(minilm), accept_factorized=True)
    exact, loaded = folder / "exact.onnx", source.load(torch.float32)
    graph_of(source, loaded.model, fit_of(source, loaded)).write(exact, OPSET)
    found = {"onnx": folder / "model.onnx", "openvino": folder / "model.xml"}
    kind = QuantType.QInt8 if signed() else QuantType.QUInt8
    quantize_dynamic(
        exact, found["onnx"], per_channel=True, weight_type=kind, op_types_to_quantize=["Gather", "MatMul", "Gemm"]
    )
    graph = openvino.Core().read_model(exact)
    given = nncf.Dataset(rows(minilm, texts(16)))
    openvino.save_model(
        nncf.quantize(graph, given, model_type=nncf.ModelType.TRANSFORMER, subset_size=16), found["openvino"]
    )
    return found


@pytest.mark.parametrize("backend", list(INT8))
def test_less_is_lost_than_by_the_quantizer_alone(backend: str, minilm: Path, by_others: dict[str, Path]) -> None:
    ours, theirs = lost(minilm, minilm / backend / INT8[backend]), lost(minilm, by_others[backend])
    assert 0 < ours < 0.7 * theirs
