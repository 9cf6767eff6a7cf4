"""Every kind of tokenizer and head: kept tokens give what they gave, and any text still has tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

from factcli import convert
from factcli.models.loading import align

from . import made

CASES = [
    ("bert", "BertModel"), ("bert", "BertForMaskedLM"), ("bert", "BertForPreTraining"),
    ("distilbert", "DistilBertForMaskedLM"), ("electra", "ElectraForMaskedLM"), ("electra", "ElectraForPreTraining"),
    ("roberta", "RobertaForMaskedLM"), ("roberta", "RobertaForSequenceClassification"),
    ("modernbert", "ModernBertForMaskedLM"), ("albert", "AlbertForMaskedLM"), ("deberta-v2", "DebertaV2ForMaskedLM"),
    ("deberta-v2", "DebertaV2ForSequenceClassification"), ("xlm-roberta", "RobertaForMaskedLM"),
    ("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM"), ("llama", "LlamaForSequenceClassification"),
    ("llama-3", "LlamaForCausalLM"), ("t5", "T5ForConditionalGeneration"), ("t5", "T5EncoderModel"),
    ("bart", "BartForConditionalGeneration"), ("bart", "BartForSequenceClassification"),
]  # fmt: skip
STRANGE = [
    "",
    "🙂 emoji 👩‍👩‍👧",
    "中文 русский العربية",
    "\x00\x07\u200b control",
    "river" * 60,
    "  two\t spaces\n",
    "é̀ ﬁ ①",
]


def outputs(model: Any, ids: torch.Tensor) -> Any:
    given = {"input_ids": ids, "output_hidden_states": True}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids
    with torch.inference_mode():
        return model(**given)


def hidden(output: Any) -> list[torch.Tensor]:
    names = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")
    return [state for name in names for state in (output.get(name) or ())]


@pytest.mark.parametrize(("kind", "head"), CASES)
def test_kept_tokens_give_what_they_gave(kind: str, head: str, tmp_path: Path) -> None:
    source, texts = made.save(kind, head, tmp_path / "source", padded=7), made.texts(tmp_path / "texts.txt")
    result = convert(str(source), tmp_path / "out", vocabulary=str(texts))
    before, after = (getattr(t, head).from_pretrained(folder).eval() for folder in (source, tmp_path / "out"))
    for model in (before, after):
        align(model)  # kernels round otherwise by where a file is mapped to
    old, new = made.load(source), made.load(tmp_path / "out")
    kept = sorted(old.get_vocab()[token] for token in new.get_vocab())
    rows = len(after.get_input_embeddings().weight)
    assert rows == len(new) == result["vocabulary"]["after"]
    assert rows < result["vocabulary"]["before"] * 0.8
    assert len(before.get_input_embeddings().weight) == result["vocabulary"]["before"] == len(old) + 7
    assert type(new) is type(old)
    assert result["vocabulary"]["fallback"]["differ"] == 0

    read = held = 0
    for text in [*made.sentences(200, 2, 9), *made.sentences(200, 3)]:  # texts that were not looked at
        pieces = old.tokenize(text)
        whole = set(pieces) <= new.get_vocab().keys()
        held += whole
        read += whole and new.tokenize(text) == pieces
        assert new(text)["input_ids"]
    assert read == held > 150

    text = made.sentences(1, 4, 9)[0]
    a, b = (torch.tensor([tokenizer(text)["input_ids"]]) for tokenizer in (old, new))
    assert [kept[i] for i in b[0].tolist()] == a[0].tolist()
    first, second = outputs(before, a), outputs(after, b)
    assert len(hidden(first)) >= 3
    assert all(torch.equal(x, y) for x, y in zip(hidden(first), hidden(second), strict=True))
    logits = next((name for name in ("logits", "prediction_logits") if name in first), None)
    if logits and first[logits].shape[-1] == result["vocabulary"]["before"]:
        assert second[logits].shape[-1] == rows
        torch.testing.assert_close(second[logits], first[logits][..., kept], atol=1e-5, rtol=1e-5)
    elif logits:
        assert torch.equal(first[logits], second[logits])

    for strange in STRANGE:
        ids = new(strange)["input_ids"]
        assert all(0 <= i < rows for i in ids)
        if kind in ("roberta", "bart", "gpt2", "llama", "llama-3"):  # whose bytes have tokens
            assert new.decode(ids, skip_special_tokens=True) == old.decode(
                old(strange)["input_ids"], skip_special_tokens=True
            )


@pytest.mark.parametrize("kind", ["bert", "roberta", "t5", "albert", "xlm-roberta", "llama"])
def test_special_tokens_and_ids_in_configurations(kind: str, tmp_path: Path) -> None:
    heads = {"t5": "T5ForConditionalGeneration", "llama": "LlamaForCausalLM"}
    source, texts = made.save(kind, heads.get(kind), tmp_path / "source"), made.texts(tmp_path / "texts.txt")
    old = made.load(source)
    last = max(old.get_vocab().values())
    token = old.convert_ids_to_tokens(last)  # of which the id must change
    for file, values in (("config.json", {"decoder_start_token_id": last, "sep_token_id": last}),
                         ("generation_config.json", {"eos_token_id": [last, 1], "bad_words_ids": [[last], [last - 1]],
                                                     "suppress_tokens": [last, 5]})):  # fmt: skip
        path = source / file
        path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | values))
    convert(str(source), tmp_path / "out", vocabulary=str(texts))
    new = made.load(tmp_path / "out")
    assert new.special_tokens_map == old.special_tokens_map
    config, generation = (
        json.loads((tmp_path / "out" / f).read_text()) for f in ("config.json", "generation_config.json")
    )
    now = new.get_vocab()[token]
    assert now < last
    assert config["decoder_start_token_id"] == config["sep_token_id"] == now
    assert generation["eos_token_id"] == [now, 1]
    assert [now] in generation["bad_words_ids"]
    assert now in generation["suppress_tokens"]
    assert config["vocab_size"] == len(new)
    for name in ("pad", "eos", "bos", "sep", "cls"):
        assert getattr(new, f"{name}_token") == getattr(old, f"{name}_token")
    pair = [tokenizer("river garden", "letter") for tokenizer in (old, new)]
    tokens = [tokenizer.convert_ids_to_tokens(p["input_ids"]) for tokenizer, p in zip((old, new), pair, strict=True)]
    assert tokens[0] == tokens[1]
    assert pair[0].get("token_type_ids") == pair[1].get("token_type_ids")


def test_files_of_transformers_4_get_the_new_ids(tmp_path: Path) -> None:
    """Which name every added token with its id; one that was added later is after all others, also then."""
    source = made.save("bert", None, tmp_path / "source", padded=1)
    tokenizer = made.load(source)
    tokenizer.add_tokens(["[NEW]"])
    tokenizer.save_pretrained(source)
    last = len(tokenizer) - 1
    config = json.loads((source / "tokenizer_config.json").read_text())
    about = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(i): about | {"content": c} for i, c in [(0, "[PAD]"), (2, "[CLS]"), (last, "[NEW]")]}
    (source / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": added}))
    (source / "added_tokens.json").write_text(json.dumps({"[NEW]": last}))
    convert(str(source), tmp_path / "out", vocabulary=str(made.texts(tmp_path / "texts.txt")))
    new = made.load(tmp_path / "out")
    now = len(new) - 1
    assert now < last
    assert new.convert_tokens_to_ids("[NEW]") == now
    assert new.tokenize("rivers [NEW]")[-1] == "[NEW]"
    assert json.loads((tmp_path / "out" / "added_tokens.json").read_text()) == {"[NEW]": now}
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {i: entry["content"] for i, entry in written.items()} == {"0": "[PAD]", "2": "[CLS]", str(now): "[NEW]"}


def test_tokens_beyond_the_table_and_rows_without_a_token(tmp_path: Path) -> None:
    """A tokenizer with more tokens than rows; and a configuration that pads with a row that no token has."""
    source = made.save("bert", None, tmp_path / "source", padded=3)
    rows = len(made.load(source)) + 3
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"pad_token_id": rows - 1}))
    texts = str(made.texts(tmp_path / "texts.txt"))
    result = convert(str(source), tmp_path / "out", vocabulary=texts)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pad_token_id"] == result["vocabulary"]["after"] - 1 == len(made.load(tmp_path / "out"))
    tokenizer = made.load(source)
    tokenizer.add_tokens([f"[NEW{i}]" for i in range(9)])
    tokenizer.save_pretrained(source)
    (source / "config.json").write_text(json.dumps(config | {"pad_token_id": 0, "vocab_size": rows}))
    result = convert(str(source), tmp_path / "more", vocabulary=texts)
    assert len(made.load(tmp_path / "more")) == result["vocabulary"]["after"] + 6
