"""A tokenizer with fewer tokens: tokenizer.json, and the files that say the same for other loaders."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FactcliError
from ..files.atomic import write_json
from ..models import tokenizers
from ..models.model import Model
from ..models.tokenizers import CONFIG
from ..notes import note
from .counting import Ints, encoded
from .identifiers import Renumbered
from .pieces import Pieces

# Of the tokenizer's files those that hold no vocabulary.
_BARE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_TRIED = 200  # texts
_TEMPLATES = (".jinja", "chat_template.json")


def trimmed(pieces: Pieces, kept: Ints) -> dict[str, Any]:
    """tokenizer.json with the tokens `kept`, old ids in ascending order; a new id is the rank of the old one."""
    new = {old: i for i, old in enumerate(kept.tolist())}
    values = copy.deepcopy(pieces.values)
    model = values["model"]
    if pieces.kind == "Unigram":
        model["vocab"] = [entry for i, entry in enumerate(model["vocab"]) if i in new]
        model["unk_id"] = None if model.get("unk_id") is None else new[model["unk_id"]]
    else:
        model["vocab"] = {token: new[i] for token, i in model["vocab"].items() if i in new}
    if pieces.merges is not None:
        model["merges"] = [list(pair) for pair in pieces.merges.left(model["vocab"])]
    for token in values["added_tokens"]:
        token["id"] = new[pieces.ids[token["content"]]]
    if values.get("padding"):
        values["padding"]["pad_id"] = new.get(values["padding"]["pad_id"], values["padding"]["pad_id"])
    if values.get("post_processor"):
        values["post_processor"] = _processor(values["post_processor"], new)
    return values


def _processor(values: dict[str, Any], new: Renumbered) -> dict[str, Any]:
    """What puts special tokens around a text."""
    if values["type"] == "Sequence":
        return values | {"processors": [_processor(one, new) for one in values["processors"]]}
    if values["type"] == "TemplateProcessing":
        tokens = {k: v | {"ids": [new[i] for i in v["ids"]]} for k, v in values["special_tokens"].items()}
        return values | {"special_tokens": tokens}
    return values | {k: [values[k][0], new[values[k][1]]] for k in ("sep", "cls") if k in values}


def write(work: Path, source: Model, pieces: Pieces, kept: Ints, texts: Sequence[str]) -> None:
    """Put the tokenizer with the tokens `kept` in the place of the one in `work`, which is the source's; it is tried on
    some `texts`.

    A vocabulary that only a file of SentencePiece or the like holds is left out, which is said. Raises FactcliError
    where what is written does not load as what it should be.
    """
    values = trimmed(pieces, kept)
    new = {old: i for i, old in enumerate(kept.tolist())}
    out = []
    for name, why in source.files.files.items():
        if "/" in name or why not in ("the tokenizer", "named by tokenizer_config.json"):
            continue
        if name not in _BARE and not name.endswith(_TEMPLATES) and not _rewritten(work / name, pieces, values):
            (work / name).unlink()
            out.append(name)
    if out:
        note(
            f"{', '.join(sorted(out))} of {source.name}: left out, as with the whole vocabulary; tokenizer.json holds "
            "the smaller one."
        )
    _write(work / "tokenizer.json", values)
    _renumber(work, pieces.ids, new)
    _check(work, source, pieces, new, texts)


def _rewritten(file: Path, pieces: Pieces, values: dict[str, Any]) -> bool:
    """Whether a vocabulary file was written anew; others cannot be."""
    model = values["model"]
    ordered = sorted(model["vocab"], key=model["vocab"].__getitem__) if isinstance(model["vocab"], dict) else []
    if file.name == "tokenizer.json":
        return True
    if file.name == "vocab.txt" and pieces.kind in ("WordPiece", "WordLevel"):
        file.write_text("".join(f"{token}\n" for token in ordered), encoding="utf-8")
    elif file.name == "vocab.json" and pieces.kind in ("BPE", "WordLevel"):
        _write(file, {token: model["vocab"][token] for token in ordered})
    elif file.name == "merges.txt" and pieces.kind == "BPE":
        lines = "".join(f"{a} {b}\n" for a, b in model["merges"])
        file.write_text(f"#version: 0.2\n{lines}", encoding="utf-8")
    else:
        return False
    return True


def _renumber(work: Path, ids: Mapping[str, int], new: Renumbered) -> None:
    """The ids of added tokens in the files beside tokenizer.json."""
    file = work / "added_tokens.json"
    if file.is_file():
        tokens = json.loads(file.read_text(encoding="utf-8"))
        _write(file, {token: new[ids.get(token, i)] for token, i in tokens.items() if ids.get(token, i) in new})
    file = work / CONFIG
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    added = values.get("added_tokens_decoder")
    if isinstance(added, dict):
        kept = {ids.get(about["content"], int(i)): about for i, about in added.items()}
        values["added_tokens_decoder"] = {str(new[i]): about for i, about in sorted(kept.items()) if i in new}
        _write(file, values)


def _check(work: Path, source: Model, pieces: Pieces, new: Renumbered, texts: Sequence[str]) -> None:
    """Raises FactcliError where the tokenizer in `work` does not load with the new ids, as its own class or, failing
    that, as the general one."""
    file = work / CONFIG
    if _as_meant(work, source, pieces, new, texts):
        return
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    _write(file, {k: v for k, v in values.items() if k != "auto_map"} | {"tokenizer_class": tokenizers.GENERIC})
    if not _as_meant(work, source, pieces, new, texts):
        raise FactcliError(
            f"The tokenizer of {source.name} ({type(source.tokenizer).__name__}) does not load with a smaller "
            "vocabulary: leave out --vocabulary."
        )


def _as_meant(work: Path, source: Model, pieces: Pieces, new: Renumbered, texts: Sequence[str]) -> bool:
    found: Any = tokenizers.load(work, source.config, source.trusted)
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        return False
    expected = {pieces.tokens[old]: i for old, i in new.items() if old in pieces.tokens}
    if backend.get_vocab(with_added_tokens=True) != expected:
        return False
    old = source.tokenizer
    if {new.get(i) for i in old.all_special_ids} != set(found.all_special_ids):
        return False
    for text in ("", *tokenizers.SAMPLES, *texts[:_TRIED]):
        ids = old(text, verbose=False)["input_ids"]
        inner = encoded(pieces.backend, [text])[0]
        if {*ids, *inner} <= new.keys() and found(text, verbose=False)["input_ids"] != [new[i] for i in ids]:
            return False
    return True


def _write(file: Path, values: Any) -> None:
    write_json(file, values)
