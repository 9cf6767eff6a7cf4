"""Which layers 8 bits harm: found by their own error on real inputs, not by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .formats import Batch
from .telemetry import onnxruntime_untold

if TYPE_CHECKING:
    import onnx

HARM = 0.1  # relative error of a layer's own output above which it stays in floating point
TOKENS = 2048  # of real inputs that are looked at
_ROWS = 2**16  # of a table at a time
_PRODUCTS, _TABLES = ("MatMul", "Gemm"), ("Gather",)


def harmed(graph: Path, rows: Sequence[Batch]) -> frozenset[str]:
    """Names of the products and tables in an ONNX file whose output 8 bits change by more than HARM, relative to its
    norm, over the tokens of `rows`: a matrix with a scale for every column of outputs, a table and what goes into a
    product with one scale. A few channels that are far larger than the others do that (Dettmers et al. 2022, LLM.int8).
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(graph, load_external_data=False)  # which may be above 2 GB: one matrix of it at a time
    folder = str(graph.parent)
    constants = {i.name: i for i in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type in _PRODUCTS and _matrix(constants, n.input[1])]
    tables = [n for n in model.graph.node if n.op_type in _TABLES and _matrix(constants, n.input[0])]
    inputs = _seen(model, graph.parent, sorted({n.input[0] for n in products}), rows)
    found = set()
    for node in products:
        w = numpy_helper.to_array(constants[node.input[1]], folder)
        w = w.T if _transposed(node) else w
        x = inputs[node.input[0]].reshape(-1, len(w))[:TOKENS]
        if _error(_affine(x) @ _columns(w), x @ w) > HARM:
            found.add(node.name)
    for node in tables:
        if _error_of_table(numpy_helper.to_array(constants[node.input[0]], folder)) > HARM:
            found.add(node.name)
    return frozenset(found)


def _matrix(constants: dict[str, Any], name: str) -> bool:
    return name in constants and len(constants[name].dims) == 2


def _transposed(node: Any) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def _seen(model: onnx.ModelProto, folder: Path, names: list[str], rows: Sequence[Batch]) -> dict[str, NDArray[Any]]:
    """The values of these names, over all rows, (tokens, features). `folder` is where the model's weights are, if they
    are in a file of their own."""
    import onnx

    onnxruntime = onnxruntime_untold()
    given = {i.name for i in model.graph.input}
    for name in names:
        if name not in given and name not in {o.name for o in model.graph.output}:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    file = folder / "watched.onnx"  # not in memory, where it would be three times
    try:
        onnx.save(model, file)
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    finally:
        file.unlink(missing_ok=True)
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    tokens = 0
    for row in rows:
        batch = {i.name: row[i.name] for i in session.get_inputs()}
        for name, value in zip(names, session.run(names, batch), strict=True):
            kept[name].append(value.reshape(-1, value.shape[-1]))
        tokens += row["input_ids"].size
        if tokens >= TOKENS:
            break
    return {name: np.concatenate(values) for name, values in kept.items()}


def _affine(x: NDArray[Any]) -> NDArray[Any]:
    """Rounded to 256 steps between its least and its largest value."""
    step = _step(x)
    rounded: NDArray[Any] = np.round(x / step) * step
    return rounded


def _step(x: NDArray[Any]) -> float:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    return (high - low) / 255 or 1.0


def _columns(w: NDArray[Any]) -> NDArray[Any]:
    """Rounded to 255 steps, with a scale for each column."""
    step = np.abs(w).max(0, keepdims=True) / 127
    step[step == 0] = 1
    rounded: NDArray[Any] = np.round(w / step) * step
    return rounded


def _error_of_table(table: NDArray[Any]) -> float:
    """A part of its rows at a time: it can be most of a model."""
    step = _step(table)
    apart = whole = 0.0
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS]
        apart += float(np.linalg.norm(np.round(rows / step) * step - rows)) ** 2
        whole += float(np.linalg.norm(rows)) ** 2
    return (apart / whole) ** 0.5 if whole else 0.0


def _error(found: NDArray[Any], exact: NDArray[Any]) -> float:
    norm = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / norm if norm else 0.0
