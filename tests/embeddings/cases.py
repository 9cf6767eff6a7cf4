"""Every architecture and head, with their embeddings factorized; and what a factorized embedding stands for."""

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from factcli import convert
from factcli.remote_code.embeddings_factorized import FactorizedEmbedding

from ..vocabulary import made

EMBEDDINGS = r"word_embeddings|tok_embeddings|embed_tokens|shared|wte"
SCALED = {"scale_embedding": True}
ALL: dict[str, tuple[str, str, bool, dict[str, Any]]] = {  # kind, class, whether it ties, changes to its configuration
    "bert": ("bert", "BertModel", False, {}),
    "bert-mlm": ("bert", "BertForMaskedLM", True, {}),
    "bert-untied": ("bert", "BertForMaskedLM", False, {"tie_word_embeddings": False}),
    "bert-pretraining": ("bert", "BertForPreTraining", True, {}),
    "bert-causal": ("bert", "BertLMHeadModel", True, {"is_decoder": True}),
    "bert-cls": ("bert", "BertForSequenceClassification", False, {"num_labels": 3}),
    "distilbert-mlm": ("distilbert", "DistilBertForMaskedLM", True, {}),
    "electra-mlm": ("electra", "ElectraForMaskedLM", True, {}),
    "electra-discriminator": ("electra", "ElectraForPreTraining", False, {}),
    "roberta-mlm": ("roberta", "RobertaForMaskedLM", True, {}),
    "modernbert-mlm": ("modernbert", "ModernBertForMaskedLM", True, {}),
    "albert-mlm": ("albert", "AlbertForMaskedLM", True, {}),
    "deberta-mlm": ("deberta-v2", "DebertaV2ForMaskedLM", True, {}),
    "deberta-cls": ("deberta-v2", "DebertaV2ForSequenceClassification", False, {}),
    "deberta-small": ("deberta-v2", "DebertaV2Model", False, {"embedding_size": 16}),
    "gpt2": ("gpt2", "GPT2LMHeadModel", True, {}),
    "llama-untied": ("llama", "LlamaForCausalLM", False, {}),
    "llama-tied": ("llama", "LlamaForCausalLM", True, {"tie_word_embeddings": True}),
    "t5": ("t5", "T5ForConditionalGeneration", True, {}),
    "t5-untied": ("t5", "T5ForConditionalGeneration", False, {}),
    "t5-encoder": ("t5", "T5EncoderModel", False, {}),
    "bart": ("bart", "BartForConditionalGeneration", True, {}),
    "bart-scaled": ("bart", "BartForConditionalGeneration", True, SCALED),
    "bart-cls": ("bart", "BartForSequenceClassification", False, {}),
    "bart-base": ("bart", "BartModel", False, SCALED),
}  # fmt: skip


def save(name: str, folder: Path) -> Path:
    """The dense model of a case."""
    kind, head, _, changes = ALL[name]
    made.save(kind, head, folder, **changes)
    if name == "t5-untied":  # transformers 5 ties T5's unless the two differ
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = 0.1 * torch.randn(tensors["shared.weight"].shape)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def by_frequency(name: str, source: Path, out: Path, texts: Path, **options: Any) -> dict[str, Any]:
    """Converted so that groups of tokens have ranks by their frequency; of the embedding alone unless told."""
    masked = ALL[name][0] != "modernbert"  # whose tokenizer here has no mask
    given = {"include": [EMBEDDINGS], "keep": 0.5, "criterion": "kfac" if masked else "activation"} | options
    return convert(
        str(source), out, embeddings="factorize", allocation="global", calibration=texts, calibration_samples=40,
        **given,
    )  # fmt: skip


def layer(result: dict[str, Any]) -> dict[str, Any]:
    """The embedding in a plan."""
    (found,) = [one for one in result["layers"] if one["structure"] == "embedding"]
    return found


def matrix(embedding: FactorizedEmbedding) -> Tensor:
    """What it stands for, (tokens, d), by its tensors alone."""
    found, groups = [], zip(embedding.rows, embedding.factors, embedding.mean.weight, strict=True)
    rows: Any
    for rows, factor, mean in groups:
        product = rows.weight[1:] if isinstance(factor, nn.Identity) else rows.weight[1:] @ factor.weight.T
        found.append(product + mean)
    return torch.cat(found)[embedding.place.long()].detach()


def densified(model: Any, embedding: FactorizedEmbedding) -> dict[str, Tensor]:
    """The parameters of `model` that are not those of its embedding."""
    own = {id(p) for p in embedding.parameters()}
    return {name: copy.deepcopy(p.detach()) for name, p in model.named_parameters() if id(p) not in own}
