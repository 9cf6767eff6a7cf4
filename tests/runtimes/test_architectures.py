"""Of every kind of architecture a head goes through export's own comparison, from 1 x 1 on and padded on either side,
and through ONNX Runtime beside torch on texts of one's own."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
from transformers import AutoTokenizer

import factcli

from .. import tiny
from ..training_helpers import save_model

ONE = {"num_hidden_layers": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("RobertaForQuestionAnswering", ONE),
    "distilbert": ("DistilBertForTokenClassification", {"n_layers": 1}),
    "deberta-v2": ("DebertaV2ForSequenceClassification", ONE),
    "modernbert": ("ModernBertForMaskedLM", {"num_hidden_layers": 2}),  # one layer of each kind of attention
    "t5": ("T5ForConditionalGeneration", {"num_layers": 1}),
    "gpt2": ("GPT2ForSequenceClassification", {"n_layer": 1}),
}
TEXTS = ["w1 w2 w3", "good w5"]


@pytest.mark.parametrize("kind", CASES)
def test_a_head(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head, changes = CASES[kind]
    folder = save_model(tmp_path / kind, kind, head, **changes)
    made = factcli.export(str(folder), format="onnx", opset=18 if kind == "distilbert" else None)
    assert made["checked"]["max_difference"] < 1e-5
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert value.shape[0] == "batch"
        assert len(value.shape) == 1 or value.shape[1] in ("length", "decoder_length", 2)
    model = getattr(transformers, head).from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:  # one at a time: what a runtime's user writes first
        given = {"input_ids": tokenizer(text, return_tensors="pt")["input_ids"]}
        given |= {"attention_mask": torch.ones_like(given["input_ids"])}
        given |= {"decoder_input_ids": torch.tensor([[0, 5]])} if kind == "t5" else {}
        with torch.no_grad():
            expected = model(**given)
        every = {"token_type_ids": torch.zeros_like(given["input_ids"])} | given
        asked = {i.name: every[i.name].numpy() for i in session.get_inputs()}
        for output, found in zip(session.get_outputs(), session.run(None, asked), strict=True):
            np.testing.assert_allclose(found, expected[output.name].numpy(), atol=1e-5)


def test_a_model_whose_answers_a_file_cannot_give(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", "bert", "BertForNextSentencePrediction", **ONE)
    tiny.make("bert", "BertForPreTraining", **ONE).save_pretrained(folder)
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(factcli.FactcliError, match="answers with prediction_logits, seq_relationship_logits: export"):
        factcli.export(str(folder), format="onnx")
    assert sorted(p.name for p in folder.iterdir()) == before
