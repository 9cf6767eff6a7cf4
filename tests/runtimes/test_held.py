"""What files are held to: a model that 8 bits ruin is refused, one that they harm in a layer keeps that layer."""

import re
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoTokenizer, BertForSequenceClassification

import factcli
from factcli.models.cpus import signed
from factcli.models.model import find_model
from factcli.runtimes import formats
from factcli.runtimes.checking import Check
from factcli.runtimes.graph import graph_of
from factcli.runtimes.make import fit_of

from ..training_helpers import rows, save_model, write_csv
from .conftest import INT8

HEAD = "BertForSequenceClassification"
NAMES = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
OUTLIER = 5000.0


@pytest.mark.parametrize("layer", ["classifier", "bert.encoder.layer.0.attention.self.value"])
def test_a_file_of_other_weights_is_not_the_model(layer: str, exports: Path) -> None:
    """What torch translated wrongly would be found so."""
    source = find_model(str(exports / "classifier-dense"))
    loaded = source.load(torch.float32)
    fit, file = fit_of(source, loaded), formats["onnx"].open(exports / "classifier-dense" / "onnx" / "model.onnx")
    graph = graph_of(source, loaded.model, fit)
    Check(graph, None, (), fit).equal(file, "model.onnx")
    with torch.no_grad():
        loaded.model.get_submodule(layer).weight.mul_(1.5)
    with pytest.raises(factcli.FactcliError, match=r"model\.onnx is not the model: its answers are up to .* apart"):
        Check(graph, None, (), fit).equal(file, "model.onnx")


def logits(folder: Path, texts: list[str]) -> torch.Tensor:
    """Of each text alone."""
    model, tokenizer = (
        BertForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.inference_mode():
        return torch.cat([model(**tokenizer(t, return_tensors="pt")).logits for t in texts])


def balance(folder: Path, texts: list[str]) -> list[str]:
    """Move the border between the two answers into the middle of those to `texts`; gives the answers."""
    found = logits(folder, texts)
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias[1] -= (found[:, 1] - found[:, 0]).median() + 1e-7
    model.save_pretrained(folder)
    return [("no", "yes")[i] for i in logits(folder, texts).argmax(-1)]


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its answers to texts differ by far less than 8 bits can tell; the labels beside it are its own."""
    folder = tmp_path_factory.mktemp("tied")
    model = save_model(folder / "m", "bert", HEAD, num_hidden_layers=1, initializer_range=0.02, **NAMES)
    texts = [text for text, _ in rows(80, 3)]
    write_csv(folder / "labelled.csv", list(zip(texts, balance(model, texts), strict=True)))
    return model


@pytest.mark.parametrize("bound", [{"max_loss": 0.0}, {"min_agreement": 1.0}])
def test_what_8_bits_ruin_is_refused(bound: dict[str, float], tied: Path) -> None:
    """With the figures, and nothing is left."""
    before = sorted(tied.rglob("*"))
    with pytest.raises(factcli.FactcliError) as refused:
        factcli.export(str(tied), format="onnx", precision="int8", validation=tied.with_name("labelled.csv"), **bound)
    assert refused.value.exit_code == 1
    said = str(refused.value)
    assert "\n" not in said
    if "max_loss" in bound:
        found = re.search(r"loses (\d+\.\d+) points \(accuracy (0\.\d+), f1 \d\.\d+\), --max-loss is 0: it is", said)
        assert found is not None, said
        assert 0 < float(found[1]) == pytest.approx(100 * (1 - float(found[2])), abs=0.02)
    else:
        found = re.search(r"agrees with the model in (0\.\d+), --min-agreement is 1: it is not kept", said)
        assert found is not None, said
    assert said.startswith(f"onnx/{INT8['onnx']} ")
    assert sorted(tied.rglob("*")) == before


def test_without_labels_texts_are_compared(tied: Path, tmp_path: Path) -> None:
    texts = write_csv(tmp_path / "texts.csv", [(text,) for text, _ in rows(60, 3)], ("text",))
    asked = {"format": "onnx", "precision": "int8", "calibration": texts, "calibration_samples": 20}
    with pytest.raises(factcli.FactcliError, match=r"agrees with the model in 0\.\d+, --min-agreement is 1: it is not"):
        factcli.export(str(tied), min_agreement=1.0, **asked)
    assert not (tied / "onnx").exists()


@pytest.fixture(scope="module")
def outlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One channel of what the pooler reads is far larger than all others, and has a weight as much smaller: as a
    function the model is what it was."""
    folder = tmp_path_factory.mktemp("outlier") / "m"
    save_model(folder, "bert", HEAD, num_hidden_layers=1, initializer_range=0.3, **NAMES)
    texts = [text for text, _ in rows(60, 3)]
    answers = balance(folder, texts)
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        norm = model.bert.encoder.layer[-1].output.LayerNorm
        norm.weight[5] *= OUTLIER
        norm.bias[5] *= OUTLIER
        model.bert.pooler.dense.weight[:, 5] /= OUTLIER
    model.save_pretrained(folder)
    write_csv(folder.with_name("labelled.csv"), list(zip(texts, answers, strict=True)))
    return folder


def test_a_layer_that_8_bits_harm_is_spared(outlier: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And no other: the answers stay, in both formats. Without that an ONNX file is of no use, which is seen here."""
    labelled = outlier.with_name("labelled.csv")
    factcli.export(str(outlier), format="onnx")
    caplog.clear()
    made = factcli.export(
        str(outlier), format=("onnx", "openvino"), precision="int8", calibration=labelled, calibration_samples=60,
        validation=labelled, min_agreement=0.9, max_loss=10.0,
    )  # fmt: skip
    (said,) = [r.message for r in caplog.records if "floating point" in r.message]
    layer = re.search(rf"^1 layer of {outlier} stays in floating point, which 8 bits harm: (\w+)\.$", said)
    assert layer is not None, said
    assert made["checked"]["agreement"] >= 0.9
    graph = openvino.Core().read_model(outlier / "openvino" / INT8["openvino"])
    products = {n.get_friendly_name(): n for n in graph.get_ops() if n.get_type_name() == "MatMul"}
    in_32_bits = {
        name for name, node in products.items()
        if node.input(1).get_source_output().get_node().get_type_name() == "Constant"  # 8 bits are converted and scaled
    }  # fmt: skip
    assert in_32_bits == {f"{layer[1]}/WithoutBiases"}
    assert len(products) > 5
    plain = tmp_path / "plain.onnx"
    quantize_dynamic(
        outlier / "onnx" / "model.onnx", plain, per_channel=True, weight_type=QuantType.QInt8 if signed() else
        QuantType.QUInt8, op_types_to_quantize=["Gather", "MatMul", "Gemm"],
    )  # fmt: skip
    session, tokenizer = formats["onnx"].open(plain), AutoTokenizer.from_pretrained(outlier)
    texts = [text for text, _ in rows(60, 3)]
    found = [session.run(dict(tokenizer(t, return_tensors="np")))["logits"].argmax() for t in texts]
    same = float(np.mean(np.array(found) == logits(outlier, texts).argmax(-1).numpy()))
    assert same < 0.8 < made["checked"]["agreement"]
