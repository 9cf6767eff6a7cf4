"""Bad input to --vocabulary: one sentence that says what to do, and nothing half written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import models

from factcli import convert
from factcli.errors import CheckFailed, FactcliError

from .. import tiny
from ..test_bad_input import fail  # noqa: F401  (a fixture)
from . import made

Fail = Callable[..., str]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return made.save("bert", None, tmp_path / "bert")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("texts.txt", "", "texts.txt is empty: give a file with rows"),
        ("texts.txt", " \n\n", "texts.txt has no rows"),
        ("gone.txt", None, "gone.txt is not there: give a file of texts"),
        ("texts.pdf", "text", "is not a kind of file that is read"),
        ("texts.txt", "жлядф щюцши бъдйц\n" * 50, "is in a language that the tokenizer of "),
        ("texts.txt", "a\n.\n1\n" * 9, "hardly any"),
        ("texts.txt", "\u200b\u200e\n" * 20, "turns all of "),
        ("texts.csv", "id,words\n1,river\n", "say which holds the text with --text-column"),
    ],
)
def test_texts(name: str, content: str | None, said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert said in fail("convert", bert, "--vocabulary", tmp_path / name, "-o", tmp_path / "out")


def test_a_size_below_what_must_stay_is_refused_and_the_size_that_is_said_works(
    bert: Path,
    tmp_path: Path,
    fail: Fail,  # noqa: F811
) -> None:
    texts = made.texts(tmp_path / "texts.txt")
    given = ("convert", bert, "--vocabulary", texts, "-o", tmp_path / "out", "--vocabulary-size")
    said = fail(*given, "10")
    assert "--vocabulary-size 10 is less than the " in said
    least = int(said.rpartition("at least ")[2].rstrip(".\n"))
    fail(*given, str(least - 1))
    result = convert(str(bert), tmp_path / "out", vocabulary=str(texts), vocabulary_size=least)
    assert result["vocabulary"]["after"] == least
    assert made.load(tmp_path / "out").tokenize("rivers") == ["r", *(f"##{c}" for c in "ivers")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--vocabulary-size", "100", "--keep", "0.5"], "--vocabulary-size has no effect without --vocabulary"),
        (["--method", "monarch", "--vocabulary", "texts.txt"], "--method has no effect with --vocabulary alone"),
        (["--blocks", "2", "--vocabulary", "texts.txt"], "--blocks has no effect with --vocabulary alone"),
        (["--criterion", "kfac", "--vocabulary", "texts.txt"], "give a budget: --params, --keep, --rank or --max-mb"),
        (["--keep", "0.5", "--rank", "3", "--vocabulary", "texts.txt"], "exactly one of"),
        (["--vocabulary-size", "0", "--vocabulary", "texts.txt"], "--vocabulary-size 0 is below 1"),
        (["--vocabulary", ""], "is empty"),
    ],
)
def test_options(options: list[str], said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    made.texts(tmp_path / "texts.txt")
    paths = [str(tmp_path / o) if o.endswith(".txt") else o for o in options]
    assert said in fail("convert", bert, "-o", tmp_path / "out", *paths, code=2)


def test_a_tokenizer_without_a_fast_form(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    for file in bert.glob("tokenizer*"):
        file.unlink()
    made.texts(tmp_path / "texts.txt")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]
    (bert / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (bert / "merges.txt").write_text("#version: 0.2\na b\n")
    (bert / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CTRLTokenizer"}))
    said = fail("convert", bert, "--vocabulary", tmp_path / "texts.txt", "-o", tmp_path / "out")
    assert "has a tokenizer without a fast form (CTRLTokenizer)" in said


def test_a_model_without_a_tokenizer(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    for file in bert.glob("tokenizer*"):
        file.unlink()
    said = fail("convert", bert, "--vocabulary", made.texts(tmp_path / "texts.txt"), "-o", tmp_path / "out")
    assert "has no tokenizer" in said


def test_the_texts_stay_as_they_are(bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    (tmp_path / "data").mkdir()
    texts = made.texts(tmp_path / "data" / "texts.txt")
    assert "holds --vocabulary" in fail("convert", bert, "--vocabulary", texts, "-o", tmp_path / "data", "--overwrite")
    assert texts.is_file()


def as_many_types_as_tokens(folder: Path) -> None:
    tokens = len(made.load(folder))
    tiny.make("bert", vocab_size=tokens, type_vocab_size=tokens).save_pretrained(folder)


def two_vocabularies(folder: Path) -> None:
    config = transformers.MarianConfig(
        vocab_size=len(made.load(folder)), decoder_vocab_size=50, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64,
        share_encoder_decoder_embeddings=False, tie_word_embeddings=False, pad_token_id=0, decoder_start_token_id=0,
        eos_token_id=2,
    )  # fmt: skip
    transformers.MarianMTModel(config).save_pretrained(folder)


def of_pictures(folder: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (as_many_types_as_tokens, "has several tables of tokens (embeddings.token_type_embeddings beside its emb"),
        (two_vocabularies, "has several tables of tokens (model.decoder.embed_tokens beside its embeddings)"),
        (of_pictures, "(ViTModel) has no table of tokens that can be found: leave out --vocabulary."),
    ],
)
def test_tables(change: Callable[[Path], None], said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    change(bert)
    texts = made.texts(tmp_path / "texts.txt")
    assert said in fail("convert", bert, "--vocabulary", texts, "-o", tmp_path / "out")


def test_weights_without_the_table(bert: Path, tmp_path: Path) -> None:
    found = load_file(bert / "model.safetensors")
    del found["embeddings.word_embeddings.weight"]
    save_file(found, bert / "model.safetensors", {"format": "pt"})
    texts = made.texts(tmp_path / "texts.txt")
    with pytest.raises(FactcliError, match="bert has no table of tokens in its weights: leave out --vocabulary"):
        convert(str(bert), tmp_path / "out", vocabulary=str(texts))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "texts.txt"]


CODE = """
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import BertTokenizer

class Splitter:
    def pre_tokenize(self, given):
        given.split(lambda i, text: text.split(" "))

class Python(BertTokenizer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.backend_tokenizer.pre_tokenizer = PreTokenizer.custom(Splitter())

class Fixed(BertTokenizer):
    def __call__(self, *args, **kwargs):
        found = super().__call__(*args, **kwargs)
        found["input_ids"] = [*found["input_ids"], 300]
        return found
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [("Python", "(Python) with parts that no tokenizer.json can hold: leave out --vocabulary."),
     ("Fixed", "(Fixed) does not load with a smaller vocabulary: leave out --vocabulary.")],
)  # fmt: skip
def test_tokenizers_with_code_of_their_own(name: str, said: str, bert: Path, tmp_path: Path, fail: Fail) -> None:  # noqa: F811
    config = json.loads((bert / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": name, "auto_map": {"AutoTokenizer": [None, f"own.{name}"]}}
    (bert / "tokenizer_config.json").write_text(json.dumps(config))
    (bert / "own.py").write_text(CODE)
    texts = made.texts(tmp_path / "texts.txt")
    assert said in fail("convert", bert, "--vocabulary", texts, "-o", tmp_path / "out", "--trust-remote-code")


def test_every_kind_of_tokenizer_is_known() -> None:
    """Of another, `vocabulary` would have to learn what a token is put together from."""
    kinds = {name for name, kind in vars(models).items() if isinstance(kind, type) and issubclass(kind, models.Model)}
    assert kinds - {"Model"} == {"WordPiece", "BPE", "Unigram", "WordLevel"}


def test_weights_that_come_out_otherwise(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(found: dict[str, torch.Tensor], *rest: Any) -> None:
        save_file(found | {"embeddings.LayerNorm.bias": found["embeddings.LayerNorm.bias"] + 1}, *rest)

    monkeypatch.setattr("factcli.vocabulary.tensors.save_file", damaged)
    texts = made.texts(tmp_path / "texts.txt")
    with pytest.raises(CheckFailed, match=r"gives other hidden states .* leave out --vocabulary, and please report"):
        convert(str(bert), tmp_path / "out", vocabulary=str(texts))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bert", "texts.txt"]
