"""Fixtures: a folder for what is generated, and a model whose answers are known."""

from pathlib import Path

import pytest
import torch
import transformers

from ..training_helpers import save_model


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@pytest.fixture(scope="package")
def model(folder: Path) -> Path:
    """It always says yes."""
    made = save_model(
        folder / "model", "bert", "BertForSequenceClassification", hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    loaded = transformers.BertForSequenceClassification.from_pretrained(made)
    loaded.classifier.weight.data.zero_()
    loaded.classifier.bias.data.copy_(torch.tensor([0.0, 1.0]))
    loaded.save_pretrained(made)
    return made
