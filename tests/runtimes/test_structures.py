"""Files of every structure, and eval of them: the same scores as torch."""

import json
import shutil
from pathlib import Path

import pytest

import factcli

from ..tiny import blocks
from ..training_helpers import rows, save_model, write_csv
from .conftest import FORMATS, INT8, texts

STRUCTURES = ("low-rank", "block-low-rank", "monarch", "pivoted")
NAMES = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structures")
    write_csv(folder / "labelled.csv", rows(50, 7))
    return save_model(
        folder / "dense", "bert", "BertForSequenceClassification", num_hidden_layers=1, initializer_range=0.3, **NAMES
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_backend_scores_alike(structure: str, dense: Path, tmp_path: Path) -> None:
    file, small = dense.with_name("labelled.csv"), tmp_path / "small"
    factcli.convert(str(dense), small, method=structure, keep=0.5, **blocks(structure))
    made = factcli.export(str(small), format=FORMATS, validation=file, max_loss=0.0, min_agreement=1.0)
    expected = factcli.evaluate(str(small), validation=file)[0]
    assert 0.2 < expected["metrics"]["accuracy"] < 0.8  # both answers are given
    for entry in made["files"]:
        assert entry["checked"]["metric"] == expected["metrics"]
        assert (entry["checked"]["agreement"], entry["checked"]["loss"]) == (1.0, 0.0)
    for backend in FORMATS:
        found = factcli.evaluate(str(small), validation=file, backend=backend, batch_size=7)[0]
        assert found["metrics"] == expected["metrics"]
        assert (found["majority"], found["failed_run"]) == (expected["majority"], expected["failed_run"])
        assert found["runs"] == next(e["path"] for e in made["files"] if e["format"] == backend)


def test_a_file_by_its_name(exports: Path, tmp_path: Path) -> None:
    """Of several the most exact one is run, unless another is named; results of each are kept."""
    file = write_csv(tmp_path / "l.csv", [(text, ("negative", "positive")[i % 2]) for i, text in enumerate(texts(20))])
    model = shutil.copytree(exports / "classifier", tmp_path / "m")
    for backend in FORMATS:
        exact, small = (
            factcli.evaluate(str(model), validation=file, backend=backend, file=name)[0]
            for name in (None, f"{backend}/{INT8[backend]}")
        )
        assert exact["runs"] in ("onnx/model.onnx", "openvino/openvino_model.xml")
        assert small["runs"] == f"{backend}/{INT8[backend]}"
    kept = json.loads((model / "eval_results.json").read_text())
    assert len({entry["runs"] for entry in kept}) == 4


def test_a_text_to_text_model_scores_alike(tmp_path: Path) -> None:
    """It answers in words, whose likelihood the file gives from the decoder's input. Its weights are so large that
    float32 itself is further from float64 than what most models' files may be off."""
    model = save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration", num_layers=1, initializer_factor=3.0)
    file = write_csv(tmp_path / "l.csv", rows(24, 4))
    made = factcli.export(str(model), format="onnx", validation=file)
    assert made["files"][0]["checked"]["metric"] == factcli.evaluate(str(model), validation=file)[0]["metrics"]
    found = factcli.evaluate(str(model), validation=file, backend="onnx")[0]
    assert found["metrics"] == made["files"][0]["checked"]["metric"]
