"""Words as the tokens that a tokenizer makes of them: the first one of each stands for its word."""

from collections.abc import Sequence
from typing import Any

from ..errors import FactcliError
from ..models.fit import IGNORED, WORDS, Features, Fit
from ..notes import note

_AT_A_TIME = 1000
_SAMPLE = ("one", "two", "three")


def encode_words(fit: Fit, rows: Sequence[Sequence[str]], max_length: int) -> list[Features]:
    """One entry a list of words, cut at `max_length` tokens, with WORDS beside what the model takes.

    Raises FactcliError for a tokenizer that does not say which token is of which word, and tokens that the model does
    not have.
    """
    tokenizer: Any = fit.tokenizer
    if not tokenizer.is_fast:
        raise FactcliError(
            f"The tokenizer of {fit.name} ({type(tokenizer).__name__}) does not say which token is of which word: take "
            "a model with a fast one (tokenizer.json)."
        )
    spaced = _needs_spaces(tokenizer)
    whole: dict[str, list[list[int]]] = {}
    places: list[list[int]] = []
    for start in range(0, len(rows), _AT_A_TIME):
        some = [_spaced(words) if spaced else list(words) for words in rows[start : start + _AT_A_TIME]]
        encoded = tokenizer(some, is_split_into_words=True, truncation=True, max_length=max_length)
        for name, values in encoded.items():
            whole.setdefault(name, []).extend(values)
        places += [_first_pieces(encoded.word_ids(i), len(words)) for i, words in enumerate(some)]
    features = fit.features(whole, len(rows))
    for feature, found in zip(features, places, strict=True):
        feature[WORDS] = found
    return features


def _first_pieces(word_ids: Sequence[int | None], count: int) -> list[int]:
    places = [-1] * count
    for position in range(len(word_ids) - 1, -1, -1):
        word = word_ids[position]
        if word is not None:
            places[word] = position
    return places


def _spaced(words: Sequence[str]) -> list[str]:
    return [*words[:1], *(f" {word}" for word in words[1:])]


def _needs_spaces(tokenizer: Any) -> bool:
    """True where words have to bring the space before them for a list of them to be read as a text is: byte-level BPE
    without add_prefix_space."""
    text = tokenizer(" ".join(_SAMPLE))["input_ids"]
    plain, spaced = (tokenizer(w, is_split_into_words=True)["input_ids"] for w in (list(_SAMPLE), _spaced(_SAMPLE)))
    return bool(plain != text and spaced == text)


def token_targets(feature: Features, tags: Sequence[int]) -> list[int]:
    """What the head is to answer at each token: the tag of a word at its first one, IGNORED elsewhere."""
    targets = [IGNORED] * len(feature["input_ids"])
    for place, tag in zip(feature[WORDS], tags, strict=True):
        if place >= 0:
            targets[place] = tag
    return targets


def say_unread(features: Sequence[Features], max_length: int, name: str, so: str) -> None:
    """A note on words that the model `name` does not see: behind the length limit, or such that no token is of them;
    `so` says what becomes of them."""
    missing = [sum(place < 0 for place in f.get(WORDS, ())) for f in features]
    words, rows = sum(missing), sum(map(bool, missing))
    if words:
        many = f"{words} word{'s' * (words != 1)} of {rows} example{'s' * (rows != 1)}"
        have = "have" if words != 1 else "has"
        note(f"{many} {have} no token within the first {max_length} of {name} and {so}: --max-length sets the limit.")
