"""How far answers are apart, and which layers 8 bits harm: of values made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from factcli.runtimes import Made, formats
from factcli.runtimes.gate import agreement, difference
from factcli.runtimes.harm import harmed

Values = NDArray[np.float32]


def logits(*rows: Any) -> dict[str, Values]:
    return {"logits": np.array(rows, dtype=np.float32)}


def hidden(*rows: Any) -> dict[str, Values]:
    return {"last_hidden_state": np.array(rows, dtype=np.float32)}


def test_the_difference_is_the_largest_of_all_outputs_and_batches() -> None:
    ours = [{"a": np.array([1.0, -8.0]), "b": np.array([2.0])}, {"a": np.array([0.0, 0.0]), "b": np.array([0.0])}]
    theirs = [{"a": np.array([1.0, -8.0]), "b": np.array([2.5])}, {"a": np.array([0.0, -3.0]), "b": np.array([0.0])}]
    assert difference(ours, theirs) == (3.0, 8.0)
    assert difference(ours, ours) == (0.0, 8.0)
    assert difference([], []) == (0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_infinitely_far(value: float) -> None:
    assert difference([logits([1.0, 2.0])], [logits([1.0, value])])[0] >= np.finfo(np.float64).max


@pytest.mark.parametrize(
    ("ours", "theirs", "multi_label", "expected"),
    [
        ([logits([1, 2], [2, 1]), logits([0, 9])], [logits([1, 3], [1, 2]), logits([0, 1])], False, 2 / 3),
        ([logits([[1, 2], [2, 1]])], [logits([[1, 2], [1, 2]])], False, 0.5),  # of every token
        ([logits([1, -1, 2], [-1, -1, -1])], [logits([1, 1, 2], [-1, 3, -1])], True, 4 / 6),
        ([logits([1], [2]), logits([3])], [logits([10], [20]), logits([30])], False, 1.0),  # a number: correlated
        ([logits([1], [2], [3])], [logits([3], [2], [1])], False, 0.0),  # not below 0
        ([logits([5], [5])], [logits([5], [5])], False, 1.0),  # the same though nothing varies
        ([logits([5], [5])], [logits([1], [2])], False, 0.0),
        ([logits([5])], [logits([5.1])], False, 0.0),  # one text tells nothing
        ([hidden([[1, 0], [1, 0]])], [hidden([[3, 0], [1, 0]])], False, 1.0),
        ([hidden([[1, 0], [1, 0]], [[1, 0], [1, 0]])], [hidden([[0, 1], [0, 1]], [[2, 0], [2, 0]])], False, 0.5),
        ([hidden([[1, 0]])], [hidden([[-1, 0]])], False, 0.0),
        ([hidden([[1, 0]])], [hidden([[0, 0]])], False, 0.0),
        ([hidden([[1, 0]])], [hidden([[np.nan, 0]])], False, 0.0),
    ],
)  # fmt: skip
def test_agreement(ours: Any, theirs: Any, multi_label: bool, expected: float) -> None:
    assert agreement(ours, theirs, multi_label) == pytest.approx(expected)


def test_starts_and_ends_are_counted_alike() -> None:
    def reader(start: list[float], end: list[float]) -> dict[str, Values]:
        return {"start_logits": np.array([start], np.float32), "end_logits": np.array([end], np.float32)}

    assert agreement([reader([1, 2, 3], [3, 2, 1])], [reader([1, 2, 3], [1, 2, 3])]) == 0.5


def save(file: Path, table: Values, weight: Values, transposed: bool) -> None:
    """tokens -> table -> product; Gemm as torch writes Linear layers, or MatMul."""
    product = (
        helper.make_node("Gemm", ["flat", "weight"], ["y"], "product", transB=1)
        if transposed
        else helper.make_node("MatMul", ["flat", "weight"], ["y"], "product")
    )
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["x"], "table"),
        helper.make_node("Flatten", ["x"], ["flat"], "flat", axis=2),
        product,
    ]
    if transposed:
        weight = np.ascontiguousarray(weight.T)
    graph = helper.make_graph(
        nodes, "graph", [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("outlier", "small", "expected"),
    [
        (1.0, 1.0, set()),
        (1000.0, 1e-3, {"product"}),  # all that counts is below one step of what goes in
        (1000.0, 1.0, set()),  # what is rounded away is not seen beside it
    ],
)
def test_a_large_channel_harms_where_small_ones_count(
    outlier: float, small: float, expected: set[str], transposed: bool, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(0)
    table = numbers.standard_normal((50, 16)).astype(np.float32)
    weight = numbers.standard_normal((16, 8)).astype(np.float32)
    table[:, 3] *= outlier
    weight[3] *= small
    save(tmp_path / "m.onnx", table, weight, transposed)
    rows = [{"input_ids": np.arange(50).reshape(1, 50)}]
    assert harmed(tmp_path / "m.onnx", rows) == expected


def test_a_large_entry_harms_its_table(tmp_path: Path) -> None:
    """What others hold is below one step, and one entry is not enough to hide that."""
    numbers = np.random.default_rng(0)
    table = numbers.standard_normal((4000, 16)).astype(np.float32)
    table[7, 3] = 1000
    save(tmp_path / "m.onnx", table, numbers.standard_normal((16, 8)).astype(np.float32), True)
    assert harmed(tmp_path / "m.onnx", [{"input_ids": np.arange(50, 90).reshape(1, 40)}]) == {"table"}


def test_weights_may_be_in_a_file_beside_the_graph(tmp_path: Path) -> None:
    """As they are above 2 GB, where a model in memory is too large to be written in one piece."""
    numbers = np.random.default_rng(0)
    table = numbers.standard_normal((4000, 16)).astype(np.float32)
    table[7, 3] = 1000
    save(tmp_path / "m.onnx", table, numbers.standard_normal((16, 8)).astype(np.float32), True)
    onnx.save(
        onnx.load(tmp_path / "m.onnx"), tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data",
        size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "m.onnx.data").stat().st_size >= table.nbytes
    assert harmed(tmp_path / "m.onnx", [{"input_ids": np.arange(50, 90).reshape(1, 40)}]) == {"table"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("most", [0, None])
def test_half_precision_has_its_weights_beside_it_above_the_limit(
    most: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.random.default_rng(0)
    table = numbers.standard_normal((400, 16)).astype(np.float32)
    save(tmp_path / "m.onnx", table, numbers.standard_normal((16, 8)).astype(np.float32), True)
    if most is not None:
        monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", most)
    file, batch = tmp_path / "half.onnx", {"input_ids": np.arange(40).reshape(1, 40)}
    formats["onnx"].write(Made(tmp_path / "m.onnx"), "float16", file)
    parts = formats["onnx"].parts(file)
    assert len(parts) == (1 if most is None else 2)
    assert len({part.stat().st_mode for part in parts}) == 1
    ours, theirs = (formats["onnx"].open(f).run(batch)["y"] for f in (tmp_path / "m.onnx", file))
    np.testing.assert_allclose(theirs, ours, atol=0.05)


def test_no_more_rows_are_run_than_are_looked_at(tmp_path: Path) -> None:
    table = np.eye(16, dtype=np.float32)
    save(tmp_path / "m.onnx", table, table, False)
    rows = [{"input_ids": np.zeros((1, 2048), np.int64)}, {"input_ids": np.full((1, 1), 99)}]  # which is not in it
    assert harmed(tmp_path / "m.onnx", rows) == frozenset()
