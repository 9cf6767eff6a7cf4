"""transformers.js in Node takes the ONNX files; of a factorized head it must be told which type to take it for."""

from pathlib import Path

import pytest

from .closeness import alike, same
from .conftest import INT8 as INT8_FILES
from .conftest import Pipeline
from .reference import classify, embed

FLOAT32 = {"dtype": "fp32"}
INT8 = {"dtype": "fp32", "model_file_name": Path(INT8_FILES["onnx"]).stem}
TEXTS = ["w11 w12 w13", "the film was too long", "w14"]


def test_embeddings(embedder: Path, transformers_js: Pipeline) -> None:
    """The base class stands in for a type that it does not know."""
    expected = embed(embedder, TEXTS)
    same(transformers_js(embedder, "feature-extraction", TEXTS, FLOAT32), expected, within=1e-3)
    alike(transformers_js(embedder, "feature-extraction", TEXTS, INT8), expected)


@pytest.mark.parametrize("name", ["classifier", "classifier-dense"])
def test_a_classifier(name: str, exports: Path, transformers_js: Pipeline) -> None:
    model_type = None if name.endswith("-dense") else "bert"
    answers = transformers_js(exports / name, "text-classification", TEXTS, FLOAT32, model_type)
    labels, expected = classify(exports / name, TEXTS)
    for answer, row in zip(answers, expected, strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        same([scores[label] for label in labels], row, within=1e-3)


def test_a_reader(exports: Path, transformers_js: Pipeline) -> None:
    question = ["w11 w12", "w13 w14 w15"]
    answers = transformers_js(exports / "reader", "question-answering", question, FLOAT32, "bert")
    assert answers[0]["answer"] in question[1]


def test_a_factorized_head_of_unknown_type_is_refused(exports: Path, transformers_js: Pipeline) -> None:
    """When this fails, what the card says about the type can go."""
    with pytest.raises(RuntimeError, match="Unsupported model type: factorized_bert"):
        transformers_js(exports / "classifier", "text-classification", TEXTS, FLOAT32)
