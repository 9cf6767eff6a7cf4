"""Models and data that statistics cannot be gathered of: what is said, what it advises, and that nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

import factcli
from factcli.errors import FactcliError

from . import tiny
from .training_helpers import rows, save_model, save_tokenizer, write_csv

# Its indexer, which chooses the tokens that matter, has no gradients.
SPARSE = {
    "vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
    "num_experts_per_tok": 2, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 4, "first_k_dense_replace": 1,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))


def convert(place: Path, **options: Any) -> dict[str, Any]:
    """The model of that place, on texts with labels."""
    texts = place / "texts.csv"
    if not texts.exists():
        write_csv(texts, rows(8, 0))
    asked: dict[str, Any] = {"keep": 0.5, "calibration": str(texts), "device": "cpu"}
    return factcli.convert(str(place / "model"), place / "out", **asked | options)


def refusal(place: Path, **options: Any) -> str:
    """What is said, where nothing is written."""
    before = {*place.iterdir(), place / "texts.csv", place / "cache"}
    with pytest.raises(FactcliError) as refused:
        convert(place, **options)
    assert set(place.iterdir()) <= before
    return str(refused.value)


@pytest.mark.parametrize("criterion", ["activation", "fisher"])
def test_a_layer_that_no_token_reaches(criterion: str, tmp_path: Path) -> None:
    """DeBERTa's projections of relative positions see no tokens: so it is said, whatever is gathered of them."""
    save_model(tmp_path / "model", "deberta-v2", share_att_key=False)
    said = refusal(tmp_path, criterion=criterion)
    assert said == (
        "No token of the calibration data reaches encoder.layer.0.attention.self.pos_key_proj: leave it out with "
        "--exclude."
    )
    assert convert(tmp_path, criterion=criterion, exclude="pos_(key|query)_proj")["output"]


def test_a_layer_that_the_loss_does_not_depend_on(tmp_path: Path) -> None:
    if not hasattr(transformers, "DeepseekV32Config"):
        pytest.skip("this transformers has no model with such a layer")
    torch.manual_seed(0)
    transformers.DeepseekV32Model(transformers.DeepseekV32Config(**SPARSE)).save_pretrained(tmp_path / "model")
    save_tokenizer(tmp_path / "model")
    said = refusal(tmp_path, criterion="kfac", exclude="kv_b_proj")
    assert said == "The loss does not depend on layers.0.self_attn.indexer.wq_b: leave it out with --exclude."
    assert convert(tmp_path, criterion="kfac", exclude=["kv_b_proj", "indexer"])["output"]


def test_texts_without_tokens(tmp_path: Path) -> None:
    """Characters that are in no token, and nothing that stands for them."""
    save_model(tmp_path / "model", "gpt2")
    letters = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, []))
    PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="c").save_pretrained(tmp_path / "model")
    (tmp_path / "texts.csv").write_text("text\n12\n34\n")
    said = refusal(tmp_path, criterion="activation")
    assert said == "The calibration data hold no tokens: give a file with some text."


def test_a_masked_head_without_a_mask(tmp_path: Path) -> None:
    save_model(tmp_path / "model", "bert", "BertForMaskedLM")
    said = refusal(tmp_path, criterion="kfac")
    assert "has no mask token" in said
    assert said.endswith("name one of its tokens as mask_token in tokenizer_config.json.")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mask_token": "[UNK]"}))
    assert convert(tmp_path, criterion="kfac")["output"]


def test_a_head_that_overflows(tmp_path: Path) -> None:
    """Its weights are finite, as a conversion sees to before; what it makes of them is not."""
    save_model(tmp_path / "model")
    model = tiny.make("bert", "BertForSequenceClassification")
    model.classifier.weight.data.fill_(3e38)
    model.save_pretrained(tmp_path / "model")
    assert refusal(tmp_path, criterion="kfac").endswith(
        "not finite on the calibration data: check the weights of the head."
    )


def test_labels_for_answer_spans(tmp_path: Path) -> None:
    save_model(tmp_path / "model", "bert", "BertForQuestionAnswering")
    said = refusal(tmp_path, criterion="fisher-rows", fisher="empirical")
    assert said == "--fisher empirical cannot read answer spans: take --fisher sampled."
    assert convert(tmp_path, criterion="fisher-rows", fisher="sampled")["output"]
