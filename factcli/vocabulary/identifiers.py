"""Ids of tokens in configuration files, found by the names that transformers gives them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Renumbered = Mapping[int, int]  # old id -> new id, of those that stay

_NAMES = re.compile(r"_token_ids?$|_token_index$|^(pad|bos|eos|unk|mask|sep|cls)_(index|id)$|^special_token_ids$")
_LISTS = frozenset({"suppress_tokens", "begin_suppress_tokens"})  # of ids that need not stay
_SEQUENCES = frozenset({"bad_words_ids", "force_words_ids"})  # of texts, as ids


def named(config: Mapping[str, Any]) -> Iterator[int]:
    """The ids that a configuration names, in its parts too."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from named(value)
        elif _NAMES.search(key):
            yield from (i for i in (value if isinstance(value, list) else [value]) if _is_id(i))
        elif key == "forced_decoder_ids" and isinstance(value, list):
            yield from (pair[1] for pair in value if isinstance(pair, list) and len(pair) == 2 and _is_id(pair[1]))


def renumbered(config: Mapping[str, Any], new: Renumbered, rows: int, now: int) -> dict[str, Any]:
    """A configuration with new ids, in its parts too; a `vocab_size` of `rows` becomes `now`. Lists of tokens that must
    not be generated lose those that are no more."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found[key] = renumbered(value, new, rows, now)
        elif key == "vocab_size" and value == rows:
            found[key] = now
        elif _NAMES.search(key):
            found[key] = [_new(i, new) for i in value] if isinstance(value, list) else _new(value, new)
        elif key in _LISTS and isinstance(value, list):
            found[key] = [new[i] for i in value if i in new]
        elif key in _SEQUENCES and isinstance(value, list):
            found[key] = [[new[i] for i in ids] for ids in value if isinstance(ids, list) and set(ids) <= new.keys()]
        elif key == "forced_decoder_ids" and isinstance(value, list):
            found[key] = [[pair[0], _new(pair[1], new)] for pair in value]
        else:
            found[key] = value
    return found


def with_defaults(raw: Mapping[str, Any], whole: Mapping[str, Any], new: Renumbered) -> dict[str, Any]:
    """`raw`, a config.json, with the ids of `whole` that it leaves to the class's defaults where these change."""
    found = dict(raw)
    for key, value in whole.items():
        if isinstance(value, Mapping) and isinstance(raw.get(key), Mapping):
            found[key] = with_defaults(raw[key], value, new)
        elif key not in raw and _NAMES.search(key) and any(_new(i, new) != i for i in _listed(value)):
            found[key] = value
    return found


def _new(value: Any, new: Renumbered) -> Any:
    """An id that is no token's (-1, or one beyond the table) stays as it is."""
    return new.get(value, value) if _is_id(value) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
