"""--max-mb, the bytes of what is shipped as a budget; and where the bytes of a model are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import factcli
from factcli.errors import FactcliError, UsageError
from factcli.models.parts import PARTS, part_of
from factcli.runtimes import formats

from . import tiny
from .test_reload import save_with_tokenizer
from .training_helpers import write_csv

WIDE = {"hidden_size": 96, "intermediate_size": 256}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 1 MB."""
    folder = tmp_path_factory.mktemp("megabytes") / "dense"
    save_with_tokenizer(
        tiny.make("bert", "BertForSequenceClassification", **WIDE), folder, {"tokenizer_class": "BertTokenizer"}
    )
    return folder


def size(file: Path) -> float:
    return file.stat().st_size / 1e6


def range_of(model: Path, **options: Any) -> tuple[float, float]:
    """The feasible range that the sentence for too small a budget says."""
    with pytest.raises(FactcliError, match="the feasible range is") as found:
        factcli.convert(str(model), "out", max_mb=1e-6, dry_run=True, **options)
    low, high = str(found.value).partition(" MB.")[0].rpartition("range is ")[2].split(" to ")
    assert str(found.value).partition(" MB.")[2].startswith(" Less must stay with --embeddings factorize")
    return float(low), float(high)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("embeddings", ["dense", "factorize"])
def test_the_weights_are_no_larger_and_hardly_smaller(model: Path, tmp_path: Path, dtype: str, embeddings: str) -> None:
    most = 0.6 * size(model / "model.safetensors") * (1 if dtype == "float32" else 0.5)
    factcli.convert(str(model), tmp_path / "m", max_mb=most, dtype=dtype, embeddings=embeddings)
    assert 0.94 * most < size(tmp_path / "m" / "model.safetensors") <= most


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_so_is_the_file_of_a_runtime(model: Path, tmp_path: Path, name: str, precision: str) -> None:
    rows = [(f"w{i % 90 + 5} w{i % 7 + 5}",) for i in range(24)]
    texts = write_csv(tmp_path / "texts.csv", rows, ("text",))
    data = {"calibration": str(texts)} if precision == "int8" else {}
    dense = size(model / "model.safetensors")
    most = dense * (0.75 if precision == "float32" else {"onnx": 0.4, "openvino": 0.6}[name])
    result = factcli.convert(str(model), tmp_path / "m", max_mb=most, format=(name,), precision=precision, **data)
    assert result["runtimes"][0]["bytes"] <= most * 1e6
    assert result["runtimes"][0]["bytes"] == sum(
        part.stat().st_size for part in formats[name].parts(tmp_path / "m" / formats[name].file(precision))
    )


def test_a_file_that_came_out_too_large_is_made_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a graph takes beside its numbers is an estimate: here one that is far too low."""
    monkeypatch.setattr(formats["openvino"], "beside", lambda precision: 0)
    most = 0.75 * size(model / "model.safetensors")
    result = factcli.convert(str(model), tmp_path / "m", max_mb=most, format=("openvino",))
    assert result["runtimes"][0]["bytes"] <= most * 1e6
    assert "above --max-mb: made again, smaller" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]


def test_the_range_that_is_said_holds(model: Path, tmp_path: Path) -> None:
    low, high = range_of(model)
    assert 0 < low < high
    assert high == pytest.approx(size(model / "model.safetensors"), abs=0.06)
    with pytest.raises(FactcliError, match="not below the dense model"):
        factcli.convert(str(model), tmp_path / "m", max_mb=high + 0.2)
    assert range_of(model, embeddings="factorize")[0] < low
    assert range_of(model, dtype="float16")[1] == pytest.approx(high / 2, abs=0.11)
    assert not list(tmp_path.iterdir())


def test_one_budget_of_four(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--params, --keep, --rank and --max-mb, not --keep and --max-mb"):
        factcli.convert(str(model), tmp_path / "m", max_mb=1, keep=0.5)
    with pytest.raises(UsageError, match="--max-mb"):
        factcli.convert(str(model), tmp_path / "m", max_mb=0)


def test_what_is_planned_is_what_is_written(model: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"keep": 0.4, "embeddings": "factorize"}
    planned = factcli.convert(str(model), dry_run=True, **asked)
    factcli.convert(str(model), tmp_path / "m", **asked)
    found = factcli.inspect(str(tmp_path / "m"))["parts"]
    assert list(found) == [p for p in PARTS if p in found]
    assert {"embeddings", "attention", "feed-forward", "head"} <= found.keys()
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    assert sum(found.values()) == sum(t.nbytes for t in tensors.values())
    markers = sum(t.nbytes for name, t in tensors.items() if t.numel() == 1 and name.endswith(".weight"))
    assert sum(found.values()) - sum(p["after"] for p in planned["parts"].values()) == markers
    assert planned["parts"]["embeddings"]["after"] < planned["parts"]["embeddings"]["before"]
    json.dumps(planned)


@pytest.mark.parametrize("kind", sorted(tiny.CONFIGS))
def test_every_tensor_has_its_part(kind: str) -> None:
    """Of every architecture: token embeddings, attention and feed-forward are told apart by the modules they are in."""
    model = tiny.make(kind)
    base = model.base_model_prefix
    found = {name: part_of(name, base, False) for name in model.state_dict()}
    assert {"embeddings", "attention", "feed-forward"} <= set(found.values())
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and any(step.isdigit() for step in name.split(".")):
            assert found[f"{name}.weight"] in ("attention", "feed-forward"), name
    words = next(n for n, m in model.named_modules() if m is model.get_input_embeddings())
    assert found[f"{words}.weight"] == "embeddings"
