"""Tiny models with tokenizers of every kind, trained on the fly on made-up sentences."""

import json
import random
from pathlib import Path
from typing import Any

import transformers as t
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from .. import tiny

SIZE = 420
_STEMS = (
    "river", "mountain", "garden", "window", "letter", "music", "winter", "summer", "market", "bridge", "kitchen",
    "teacher", "doctor", "planet", "silver", "forest", "harbor", "engine", "orange", "yellow", "purple", "castle",
    "desert", "island", "village", "morning", "evening", "shadow",
)  # fmt: skip
_ENDS = ("", "s", "ing", "ed", "er", "ness", "less", "ful")


def sentences(count: int, seed: int, stems: int = len(_STEMS)) -> list[str]:
    """Sentences of the first `stems` stems with endings, so that texts of few stems leave tokens unused."""
    rng = random.Random(seed)
    words = [stem + end for stem in _STEMS[:stems] for end in _ENDS]
    return [
        " ".join(rng.choices(words, k=rng.randint(3, 9))) + rng.choice([".", "!", ", 1 2 3."]) for _ in range(count)
    ]


def word_piece() -> PreTrainedTokenizerBase:
    """As BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        sentences(3000, 0), trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return t.BertTokenizerFast(tokenizer_object=tokenizer, vocab=tokenizer.get_vocab())


def byte_level(kind: str) -> PreTrainedTokenizerBase:
    """As RoBERTa's, BART's, GPT-2's, or Llama's third."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2 * SIZE, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(sentences(3000, 0), trainer)
    values = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in values["merges"]]
    if kind in ("roberta", "bart"):
        return t.RobertaTokenizerFast(vocab=values["vocab"], merges=merges)
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    if kind == "gpt2":
        return t.GPT2TokenizerFast(vocab=values["vocab"], merges=merges, **named)
    return t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def unigram(kind: str) -> PreTrainedTokenizerBase:
    """As T5's, ALBERT's, DeBERTa-v3's and XLM-R's."""
    special = {
        "t5": ["<pad>", "</s>", "<unk>"], "albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"],
        "deberta-v2": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
        "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
    }[kind]  # fmt: skip
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = "[UNK]" if "[UNK]" in special else "<unk>"
    trainer = trainers.UnigramTrainer(vocab_size=SIZE, special_tokens=special, unk_token=unknown)
    tokenizer.train_from_iterator(sentences(3000, 0), trainer)
    vocabulary = [tuple(entry) for entry in json.loads(tokenizer.to_str())["model"]["vocab"]]
    made = {
        "t5": t.T5TokenizerFast, "albert": t.AlbertTokenizerFast, "deberta-v2": t.DebertaV2TokenizerFast,
        "xlm-roberta": t.XLMRobertaTokenizerFast,
    }[kind]  # fmt: skip
    return made(vocab=vocabulary, **({"extra_ids": 5} if kind == "t5" else {}))


def llama_bpe() -> PreTrainedTokenizerBase:
    """As Llama's second: spaces as a character, bytes for what has no token."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(sentences(3000, 0), trainers.BpeTrainer(vocab_size=2 * SIZE, special_tokens=special))
    values = json.loads(trained.to_str())["model"]
    tokenizer.model = models.BPE(
        values["vocab"], [tuple(p) for p in values["merges"]], unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    return t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )


TOKENIZERS: dict[str, Any] = {
    "bert": word_piece, "electra": word_piece, "distilbert": word_piece, "modernbert": lambda: byte_level("llama"),
    "roberta": lambda: byte_level("roberta"), "bart": lambda: byte_level("bart"), "gpt2": lambda: byte_level("gpt2"),
    "llama": llama_bpe, "llama-3": lambda: byte_level("llama"), "t5": lambda: unigram("t5"),
    "albert": lambda: unigram("albert"), "deberta-v2": lambda: unigram("deberta-v2"),
    "xlm-roberta": lambda: unigram("xlm-roberta"),
}  # fmt: skip
_CONFIG = {"llama-3": "llama", "xlm-roberta": "roberta"}


def save(kind: str, head: str | None, folder: Path, padded: int = 0, **changes: Any) -> Path:
    """A tiny model with its tokenizer; its table has `padded` more rows than there are tokens."""
    tokenizer = TOKENIZERS[kind]()
    ids = {
        f"{name}_token_id": i
        for name in ("pad", "bos", "eos")
        if (i := getattr(tokenizer, f"{name}_token_id")) is not None
    }
    if kind in ("t5", "bart"):
        ids["decoder_start_token_id"] = ids["pad_token_id" if kind == "t5" else "eos_token_id"]
    if kind == "bart":
        ids["forced_eos_token_id"] = ids["eos_token_id"]
    size = {"vocab_size": len(tokenizer) + padded}
    model = tiny.make(_CONFIG.get(kind, kind), head, **{**size, **ids, **changes})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if kind == "xlm-roberta":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tokenizer_class": "XLMRobertaTokenizer"}))
    return folder


def texts(file: Path, count: int = 400, stems: int = 9) -> Path:
    """A file of sentences with fewer words than the tokenizers were trained on."""
    file.write_text("\n".join(sentences(count, 1, stems)), encoding="utf-8")
    return file


def load(folder: Path) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return found
