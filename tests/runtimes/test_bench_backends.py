"""bench with several backends: each in a process of its own, and what its numbers mean, never how large a time is."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.cli.costs import measured
from factcli.runtimes import formats

from .conftest import INT8

COMMON: dict[str, Any] = {"sequence_length": 16, "runs": 2, "batch_size": (1, 3)}


@pytest.fixture(scope="module")
def result(exports: Path) -> dict[str, Any]:
    return factcli.bench(
        [str(exports / "classifier")], baseline=str(exports / "classifier-dense"), precision=("float32", "int8"),
        backend=("torch", "onnx", "openvino"), **COMMON,
    )  # fmt: skip


def test_every_backend_runs_every_precision_that_it_has(result: dict[str, Any], exports: Path) -> None:
    rows = [(Path(r["model"]).name, r["backend"], r["precision"], r["batch_size"]) for r in result["results"]]
    ways = [("torch", "float32"), *((b, p) for b in ("onnx", "openvino") for p in ("float32", "int8"))]
    assert rows == [
        row
        for batch in (1, 3)
        for row in [
            ("classifier-dense", "torch", "float32", batch),
            *(("classifier", backend, precision, batch) for backend, precision in ways),
        ]
    ]
    for r in result["results"]:
        assert all(t > 0 for turn in r["samples_ms"] for t in turn)
        assert r["peak_memory_bytes"] > 10e6  # of the process, interpreter and libraries included
        if r["backend"] != "torch":
            one, folder = formats[r["backend"]], exports / "classifier"
            assert r["file"] == one.file(r["precision"])
            assert r["bytes"] == sum(part.stat().st_size for part in one.parts(folder / r["file"]))
        if r["precision"] == "int8":
            assert r["dtype"] == "int8"
    of_model = {r["flops"] for r in result["results"] if r["batch_size"] == 3 and not r["baseline"]}
    assert len(of_model) == 1  # of the model, whatever runs it
    assert [r["baseline"] for r in result["results"]].count(True) == 2
    assert len(result["ratios"]) == 10
    assert result["versions"].keys() == {"onnx", "openvino"}
    assert result["instructions"]


def test_the_table_names_backends(result: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    measured(result)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[1:3] == ["openvino", "int8"] for line in lines if "classifier " in line)


def test_the_frontier(exports: Path, tmp_path: Path) -> None:
    plot = tmp_path / "frontier.png"
    result = factcli.bench([str(exports / "classifier")], backend="onnx", plot=plot, sequence_length=8, runs=1)
    assert plot.is_file()
    assert plot.with_suffix(".svg").is_file()
    assert any("has no accuracy in eval_results.json" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "tensorrt"}, "is unknown: take torch, onnx, openvino"),
        ({"backend": "onnx", "dtype": "float32"}, "--dtype has no effect with --backend or --precision"),
        ({"backend": "onnx", "variant": "compile"}, "--variant has no effect with --backend"),
        ({"backend": "onnx", "device": "cuda"}, "--backend onnx runs on the CPU"),
        ({"backend": "onnx", "precision": "bfloat16"}, "Nothing is left to measure"),
        ({"backend": "openvino", "precision": "float16"}, "has no file openvino/openvino_model_fp16.xml"),
    ],
)
def test_refused(options: dict[str, Any], said: str, exports: Path) -> None:
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.bench([str(exports / "classifier")], **options)


def test_a_file_that_cannot_be_run_ends_the_command(exports: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(exports / "classifier", broken)
    (broken / "onnx" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(factcli.FactcliError, match=r"broken onnx fails: ONNX Runtime cannot run model\.onnx"):
        factcli.bench([str(broken)], backend="onnx", sequence_length=8, runs=1)


def test_convert_writes_files_in_one_go(exports: Path, tmp_path: Path) -> None:
    """As an export of the same model would; the texts calibrate the files alone, where the criterion reads none."""
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "\n".join(f"w{i} w{i + 1}" for i in range(20)))
    result = factcli.convert(
        str(exports / "classifier-dense"), tmp_path / "out", keep=0.5, format=("onnx", "openvino"), precision="int8",
        calibration=str(texts),
    )  # fmt: skip
    assert [f["path"] for f in result["runtimes"]] == [formats[name].file("int8") for name in ("onnx", "openvino")]
    assert INT8["onnx"] in (tmp_path / "out" / "README.md").read_text()
    shown = factcli.inspect(tmp_path / "out")["runtimes"]
    assert [(f["path"], f["state"]) for f in shown] == [(f["path"], "as written") for f in result["runtimes"]]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "int8"}, "--precision has no effect without --format"),
        ({"format": "openvino", "precision": "int8"}, "give --calibration"),
        ({"format": "onnx", "precision": "bfloat16"}, "has no precision bfloat16"),
    ],
)
def test_convert_refuses(options: dict[str, Any], said: str, exports: Path, tmp_path: Path) -> None:
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.convert(str(exports / "classifier-dense"), tmp_path / "out", keep=0.5, **options)
    assert not list(tmp_path.iterdir())
