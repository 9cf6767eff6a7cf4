"""A runtime, tokenizers and numpy are enough: the programs that cards show, as they stand there, where nothing else can
be imported. They answer what the PyTorch model answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer

import factcli

from .. import tiny
from ..conftest import Run
from ..test_reload import save_with_tokenizer
from ..training_helpers import save_model, save_tokenizer
from .closeness import same
from .conftest import FORMATS, save_sentence_transformer
from .reference import classify, embed

WITHIN = {"onnx": 1e-4, "openvino": 2e-2}  # which takes bfloat16 where the processor has it
TEXTS = ["A first text.", "A second one, which is longer."]
PAIRS = [("A first text.", "A second one, which is longer."), ("It rains.", "It pours.")]
QUESTIONS = [("Who was first?", "Anna was first, and Bert came second."), ("Who came?", "Bert.")]
RUN = """if True:
    import contextlib, io, json, os, sys
    for absent in ("torch", "transformers", "sentence_transformers", "optimum", "factcli"):
        sys.modules[absent] = None
    import numpy
    os.chdir(sys.argv[2])
    found, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(sys.argv[1], found)
    given = {k: v.tolist() if isinstance(v, numpy.ndarray) else v for k, v in found.items()
             if k in ("embeddings", "hidden", "logits", "answers", "start", "end")}
    print(json.dumps(given | {"inputs": list(found["inputs"]), "printed": printed.getvalue()}))
"""


def run(stranger: Run, backend: str, folder: Path) -> Any:
    """What the program of the card for `backend` finds."""
    package = {"onnx": "onnxruntime", "openvino": "openvino"}[backend]
    programs = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (program,) = [p for p in programs if f"import {package}\n" in p]
    done = stranger("-c", RUN, program, folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def logits(folder: Path, given: list[Any], types: bool = True) -> Tensor:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    tokens = tokenizer(given, padding=True, return_tensors="pt", **({} if types else {"return_token_type_ids": False}))
    with torch.inference_mode():
        return Tensor(model(**tokens).logits)


@pytest.mark.parametrize("backend", FORMATS)
def test_embeddings(backend: str, embedder: Path, plain: Run) -> None:
    found = run(plain, backend, embedder)
    same(found["embeddings"], embed(embedder, TEXTS), WITHIN[backend])
    assert len(re.findall(r"\d\.\d*", found["printed"])) == 4  # how alike the two are


@pytest.mark.parametrize("backend", FORMATS)
def test_a_classifier(backend: str, exports: Path, plain: Run) -> None:
    found = run(plain, backend, exports / "classifier")
    labels, expected = classify(exports / "classifier", TEXTS)
    same(torch.tensor(found["logits"]).softmax(-1), expected, WITHIN[backend])
    assert found["answers"] == [labels[int(row.argmax())] for row in expected]
    assert found["printed"] == f"{found['answers']}\n"
    assert found["inputs"] == ["input_ids", "attention_mask", "token_type_ids"]


@pytest.mark.parametrize("backend", FORMATS)
def test_a_reader(backend: str, exports: Path, plain: Run) -> None:
    folder = exports / "reader"
    found = run(plain, backend, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForQuestionAnswering.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.inference_mode():
        expected = model(**tokenizer(QUESTIONS, padding=True, return_tensors="pt"))
    same(found["start"], expected.start_logits, WITHIN[backend])
    same(found["end"], expected.end_logits, WITHIN[backend])
    assert [bool(a) and a in context for a, (_, context) in zip(found["answers"], QUESTIONS, strict=True)] == [True] * 2


@pytest.mark.parametrize(("backend", "types"), [("onnx", 2), ("openvino", 2), ("onnx", 1)])
def test_a_model_trained_on_pairs(backend: str, types: int, tmp_path: Path, plain: Run) -> None:
    """Its program reads pairs, in a directory of its own too; to a model of one type of tokens all are of that."""
    folder = tmp_path / "m"
    model = tiny.make("bert", "BertForSequenceClassification", num_hidden_layers=1, type_vocab_size=types)
    save_with_tokenizer(model, folder, {"tokenizer_class": "BertTokenizer"})
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # tokenizer.json
    (folder / "factcli_recipe.yaml").write_text("trained_on: {task: mrpc}\n")
    factcli.export(str(folder), format=backend, output=tmp_path / "out")
    found = run(plain, backend, tmp_path / "out")
    expected = logits(folder, [list(pair) for pair in PAIRS], types > 1)
    same(found["logits"], expected, WITHIN[backend])
    assert found["answers"] == expected.argmax(-1).tolist()  # without names: its config.json has none
    assert found["inputs"] == ["input_ids", "attention_mask", *(["token_type_ids"] if types > 1 else [])]


SIZES = {"vocab_size": 99, "pad_token_id": 0}
OTHERS: dict[str, dict[str, Any]] = {
    "Roberta": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64},
    "FNet": {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64, "tpu_short_seq_length": 64},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_ways_of_reading(kind: str, tmp_path: Path, plain: Run) -> None:
    """Without types of tokens; without padding, which the model could not tell from text."""
    folder = tmp_path / "m"
    config = getattr(transformers, f"{kind}Config")(**SIZES | OTHERS[kind])
    getattr(transformers, f"{kind}ForSequenceClassification")(config).eval().save_pretrained(folder)
    save_tokenizer(folder)
    factcli.export(str(folder), format="onnx", output=tmp_path / "out")
    found = run(plain, "onnx", tmp_path / "out")
    assert len(found["logits"]) == (1 if kind == "FNet" else 2)
    alone = torch.cat([logits(folder, [text]) for text in TEXTS[: len(found["logits"])]])
    same(found["logits"], alone, WITHIN["onnx"])


KINDS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "several labels": (
        "BertForSequenceClassification",
        {"problem_type": "multi_label_classification", "id2label": {0: "a", 1: "b", 2: "c"}},
    ),
    "a number": ("BertForSequenceClassification", {"num_labels": 1}),
    "tokens": ("BertForTokenClassification", {"id2label": {0: "name", 1: "place"}}),
    "first token": (None, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_answers(kind: str, tmp_path: Path, plain: Run) -> None:
    head, changes = KINDS[kind]
    folder = save_model(tmp_path / "m", "bert", head, num_hidden_layers=1, **changes)
    if head is None:
        save_sentence_transformer(folder)
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
        (folder / "modules.json").write_text(json.dumps(json.loads((folder / "modules.json").read_text())[:2]))
    factcli.export(str(folder), format="onnx", output=tmp_path / "out")
    found = run(plain, "onnx", tmp_path / "out")
    model = getattr(transformers, head or "BertModel").from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(**AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt"))
    if kind == "several labels":
        assert found["answers"] == [["abc"[i] for i in torch.nonzero(row > 0)] for row in expected.logits]
    elif kind == "a number":
        same(found["answers"], expected.logits[:, 0])
    elif kind == "tokens":
        assert [len(answer) for answer in found["answers"]] == [5, 8]  # what is not padding
        named = [["name", "place"][int(row.argmax())] for row in expected.logits[1]]
        assert [label for _, label in found["answers"][1]] == named
    else:
        same(found["embeddings"], expected.last_hidden_state[:, 0])
