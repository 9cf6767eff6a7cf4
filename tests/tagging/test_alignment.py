"""Where words begin among the tokens, against the tokenizers' own rules and the tokens of running text."""

import random
from pathlib import Path
from typing import Any

import pytest
import transformers as t
from transformers import PreTrainedTokenizerBase

from factcli.data.alignment import encode_words, say_unread, token_targets
from factcli.errors import FactcliError
from factcli.models.fit import IGNORED, WORDS, find_fit

from .. import tiny
from ..vocabulary import made

WORDY = ["river", "Gardenings", "unseen", ",", "castle's", "4711", "musics", "café", "."]


def fit_of(tokenizer: PreTrainedTokenizerBase) -> Any:
    model = tiny.make("bert", vocab_size=len(tokenizer), max_position_embeddings=600)
    return find_fit(model, tokenizer, "m")


def rows(count: int = 60) -> list[list[str]]:
    draw = random.Random(0)
    return [["river"], *(draw.choices(WORDY, k=draw.randint(1, 12)) for _ in range(count))]


def greedy(word: str, vocabulary: dict[str, int]) -> list[int]:
    """WordPiece: the longest piece that there is, again and again; [UNK] for a word that ends in none."""
    ids, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((e for e in ends if prefix + word[start:e] in vocabulary), None)
        if end is None:
            return [vocabulary["[UNK]"]]
        ids.append(vocabulary[prefix + word[start:end]])
        start = end
    return ids


def test_word_pieces() -> None:
    tokenizer = made.word_piece()
    vocabulary = tokenizer.get_vocab()
    words = [[w.lower().replace("é", "e").replace("'", "") for w in row] for row in rows()]
    for row, feature in zip(words, encode_words(fit_of(tokenizer), words, 100), strict=True):
        ids, places = [vocabulary["[CLS]"]], []
        for word in row:
            places.append(len(ids))
            ids += greedy(word, vocabulary)
        assert feature["input_ids"] == [*ids, vocabulary["[SEP]"]]
        assert feature[WORDS] == places


@pytest.mark.parametrize(
    "kind", ["roberta", "gpt2", "llama-3", "llama", "t5", "albert", "deberta-v2", "xlm-roberta", "bert"]
)
def test_words_are_read_as_running_text_is(kind: str) -> None:
    """The tokens are those of the words with spaces between them, and a word begins with the first token that has one
    of its characters, or the space before it."""
    compare(made.TOKENIZERS[kind]())


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_a_tokenizer_that_adds_the_first_space(kind: str, tmp_path: Path) -> None:
    made.save(kind, None, tmp_path)
    compare(t.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True))


def compare(tokenizer: PreTrainedTokenizerBase) -> None:
    for words, feature in zip(rows(), encode_words(fit_of(tokenizer), rows(), 500), strict=True):
        text = tokenizer(" ".join(words), return_offsets_mapping=True, return_special_tokens_mask=True)
        assert feature["input_ids"] == text["input_ids"]
        tokens = list(zip(text["offset_mapping"], text["special_tokens_mask"], strict=True))
        places, start = [], 0
        for word in words:
            first, last = max(0, start - 1), start + len(word)
            # A space that the tokenizer puts before a text has no width.
            places.append(
                next(
                    i
                    for i, ((a, b), special) in enumerate(tokens)
                    if not special and first <= a < last and (b > first or a == b)
                )
            )
            start = last + 1
        assert feature[WORDS] == places


def test_a_limit_cuts_words_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = made.word_piece()
    words = [["river"] * 10, ["music", "\u200b", "garden"], ["river"]]
    features = encode_words(fit_of(tokenizer), words, 8)
    assert features[0][WORDS] == [1, 2, 3, 4, 5, 6, -1, -1, -1, -1]
    assert features[1][WORDS] == [1, -1, 2]  # the second one has no token at all
    say_unread(features, 8, "m", "count as O")
    assert "5 words of 2 examples have no token within the first 8 of m and count as O" in caplog.text
    caplog.clear()
    say_unread(features[2:], 8, "m", "count as O")
    assert caplog.text == ""


def test_targets() -> None:
    feature = {"input_ids": [2, 9, 9, 9, 9, 3], WORDS: [1, 3, -1]}
    assert token_targets(feature, [4, 0, 1]) == [IGNORED, 4, IGNORED, 0, IGNORED, IGNORED]


def test_a_tokenizer_that_does_not_know_words() -> None:
    tokenizer = t.ByT5Tokenizer()
    with pytest.raises(FactcliError, match=r"The tokenizer of m \(ByT5Tokenizer\) does not say .*\(tokenizer.json\)"):
        encode_words(fit_of(tokenizer), [["a", "b"]], 20)


def test_labels_are_padded_where_tokens_are() -> None:
    fit = fit_of(made.word_piece())
    features = encode_words(fit, [["river", "music"], ["garden"]], 20)
    for feature, tags in zip(features, ([1, 2], [3]), strict=True):
        feature["labels"] = token_targets(feature, tags)
    for side in ("right", "left"):
        batch = type(fit)(**{**vars(fit), "side": side}).batch(features)
        assert batch["labels"].shape == batch["input_ids"].shape
        scored = batch["labels"] != IGNORED
        assert batch["labels"][scored].tolist() == [1, 2, 3]
        assert (batch["input_ids"][scored] > 4).all()  # at words, not at special tokens
