"""Run where factcli is not: embed real sentences with the dense and the factorized model, and compare."""

import importlib.util
import sys
from pathlib import Path

import torch
from sentences import review_sentences
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging


def embed(model: torch.nn.Module, tokenizer: object, sentences: list[str]) -> torch.Tensor:
    """Mean over tokens, normalized, as sentence-transformers does for this model: (sentences, 384)."""
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.inference_mode():
        hidden = model.eval()(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def main() -> None:
    assert importlib.util.find_spec("factcli") is None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dense_path, small_path = map(Path, sys.argv[1:])
    sentences, _ = review_sentences()
    tokenizer = AutoTokenizer.from_pretrained(small_path, trust_remote_code=True)
    dense = embed(AutoModel.from_pretrained(dense_path), tokenizer, sentences)
    model = AutoModel.from_pretrained(small_path, trust_remote_code=True)
    small = embed(model, tokenizer, sentences)
    same = (dense * small).sum(-1).mean()
    upper = torch.triu_indices(len(sentences), len(sentences), 1)
    pairs = torch.stack([(e @ e.T)[upper[0], upper[1]] for e in (dense, small)])
    sizes = [sum(f.stat().st_size for f in p.glob("*.safetensors")) for p in (dense_path, small_path)]
    print(f"{'class':24} {type(model).__name__} from {type(model).__module__.split('.')[0]}")
    print(f"{'weight files (bytes)':24} {sizes[0]:>12,} -> {sizes[1]:>12,}  ({sizes[1] / sizes[0]:.1%})")
    print(f"{'embedding similarity':24} cosine to the dense model's {same:.3f}, mean of {len(sentences)} sentences")
    print(f"{'similarities of pairs':24} correlation with the dense model's {torch.corrcoef(pairs)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
