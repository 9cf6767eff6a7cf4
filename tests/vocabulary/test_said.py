"""What --vocabulary says of texts and models that it works with, and of what it could not look at."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from factcli import convert

from ..training_helpers import WORDS, save_model
from . import made


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A model whose tokens are words, 98 of them."""
    return save_model(tmp_path / "words", vocab_size=98)


def trimmed(source: Path, lines: list[str], **options: Any) -> dict[str, Any]:
    (source.parent / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    result = convert(str(source), source.parent / "out", vocabulary=str(source.parent / "texts.txt"), **options)
    found: dict[str, Any] = result["vocabulary"]
    return found


def test_texts_without_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = made.save("bert", None, tmp_path / "bert")
    found = trimmed(source, [*made.sentences(40, 1, 9), "\u200b", "\u200e"])
    assert found["texts"] == 42
    assert "2 texts of " in caplog.text
    assert "texts.txt give no token, and say nothing of the vocabulary." in caplog.text


def test_texts_that_use_every_token(words: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = trimmed(words, [" ".join([*WORDS, "good", "bad", "no", "yes"])] * 20)
    assert found["before"] == found["after"] == 98
    assert "texts.txt uses every token: the vocabulary stays as it is." in caplog.text


def test_a_size_that_is_no_less(words: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The texts do not use every token then: the size has room for more than they use."""
    found = trimmed(words, ["w1 w2 w3"] * 20, vocabulary_size=98)
    assert found["before"] == found["after"] == 98
    assert "--vocabulary-size 98 has room for every token: the vocabulary stays as it is." in caplog.text
    assert "uses every token" not in caplog.text


def test_too_few_texts_to_hold_some_out(words: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = trimmed(words, ["w1 w2 w3"] * 9)
    assert found["fallback"] is None
    assert "has too few texts to hold some out: what other texts lose was not measured." in caplog.text


def test_a_model_that_needs_more_than_tokens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = made.save("bert", None, tmp_path / "lxmert")
    config = transformers.LxmertConfig(
        vocab_size=len(made.load(source)), hidden_size=32, num_attention_heads=4, intermediate_size=64, l_layers=1,
        x_layers=1, r_layers=1, visual_feat_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LxmertModel(config).save_pretrained(source)
    found = trimmed(source, made.sentences(60, 1, 9))
    assert found["after"] < found["before"]
    assert "lxmert does not run on tokens alone, so that hidden states were not compared (" in caplog.text
