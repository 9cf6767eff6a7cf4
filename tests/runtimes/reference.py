"""What torch says, for the other runtimes to be held against."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer


def embed(folder: Path, texts: list[str]) -> Tensor:
    """Means over the tokens, of length 1."""
    tokens, model = _tokens(folder, texts), AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def classify(folder: Path, texts: list[str]) -> tuple[list[str], Tensor]:
    """The labels and, for each text, their probabilities."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    with torch.inference_mode():
        probabilities = model(**_tokens(folder, texts)).logits.softmax(-1)
    return [label for _, label in sorted(model.config.id2label.items())], probabilities


def _tokens(folder: Path, texts: list[str]) -> dict[str, Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    return dict(tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt"))
