"""Tiny random models of every architecture that is promised, made on the fly."""

from typing import Any

import torch
import transformers as t
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto

_ENCODER = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_DEBERTA = {
    **_ENCODER,
    "relative_attention": True,
    "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _ENCODER),
    "roberta": ("RobertaConfig", {**_ENCODER, "pad_token_id": 1}),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "electra": ("ElectraConfig", {**_ENCODER, "embedding_size": 16}),
    "albert": ("AlbertConfig", {**_ENCODER, "embedding_size": 16}),
    "deberta-v2": ("DebertaV2Config", _DEBERTA),
    "modernbert": (
        "ModernBertConfig",
        {**_ENCODER, "num_hidden_layers": 3, "local_attention": 8, "cls_token_id": 1, "sep_token_id": 2,
         "bos_token_id": 1, "eos_token_id": 2},
    ),
    "t5": (
        "T5Config",
        {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
         "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True, "decoder_start_token_id": 0,
         "eos_token_id": 1, "pad_token_id": 0},
    ),
    "bart": (
        "BartConfig",
        {"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
         "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
         "forced_eos_token_id": 2},
    ),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1,
         "eos_token_id": 2, "pad_token_id": 0},
    ),
    "llama": (
        "LlamaConfig",
        {**_ENCODER, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False},
    ),
}  # fmt: skip


def blocks(method: str, count: int = 2) -> dict[str, Any]:
    """The option of that name, for the methods that have blocks."""
    return {} if method in ("low-rank", "pivoted") else {"blocks": count}


def heads(kind: str) -> list[str]:
    """Names of every class that transformers' Auto classes offer for an architecture."""
    config_class = getattr(t, CONFIGS[kind][0])
    names: dict[str, None] = {}
    for auto in sorted(modeling_auto.__all__):
        if auto.startswith("AutoModel") and hasattr(cls := getattr(t, auto), "_model_mapping"):
            found = cls._model_mapping._model_mapping.get(config_class.model_type)
            for name in found if isinstance(found, (list, tuple)) else (found,):
                if name and hasattr(t, name):
                    names[name] = None
    return list(names)


def make(kind: str, head: str | None = None, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A tiny model with random weights, in evaluation mode; `head` is a class name, the base model by default."""
    config_name, values = CONFIGS[kind]
    config = getattr(t, config_name)(**{**values, **changes})
    torch.manual_seed(seed)
    model_class = getattr(t, head) if head else t.AutoModel._model_mapping[type(config)]
    model = model_class(config)
    for parameter in model.parameters():  # random everywhere: zero biases and unit norms would hide swaps
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()
