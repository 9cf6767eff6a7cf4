"""A model with a smaller vocabulary, as a directory of its own for as long as it is worked on."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FactcliError
from ..files.atomic import write_json
from ..files.outputs import Output, workspace
from ..files.written import RECIPE
from ..models import carried
from ..models.export import dense_config
from ..models.model import Model, find_model
from ..models.tokenizers import CONFIG
from ..notes import note
from ..recipe.factorizing import Recipe
from . import tokenizer
from .choosing import choose, closed
from .counting import Counts, Ints, count, encoded
from .fallback import Fallback, measure
from .identifiers import named, renumbered, with_defaults
from .pieces import Pieces
from .same import check_same
from .tensors import rows_of, write_weights
from .texts import own_texts, read_texts

FOREIGN = 0.5  # share of unknown and spelt tokens above which the texts are in no language of the tokenizer
FEW = 0.001  # share of the tokens that may go that the texts must use at least


@dataclass(frozen=True)
class Trim:
    """What was made of a vocabulary: rows `before` and `after`, the `texts` it was chosen by and their `tokens`,
    `kept_share` of which stay as they are. `fallback` says how texts fare that were not looked at (None: too few)."""

    before: int
    after: int
    texts: int
    tokens: int
    kept_share: float
    fallback: Fallback | None

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@contextmanager
def trimmed(source: Model, recipe: Recipe, place: Output | None = None) -> Iterator[tuple[Model, Trim]]:
    """The model of `source` with the tokens that the recipe's texts use, and what that was. Its directory, beside
    `place` (None: where temporary files are), is gone after the body.

    Raises FactcliError for texts, sizes and tokenizers with which it cannot be, and where hidden states of the model
    are not what they were.
    """
    pieces = Pieces(source.tokenizer, source.name)
    texts = read_texts(str(recipe.vocabulary), recipe.text_column, shared=recipe.calibration is not None)
    rows = rows_of(source)
    size = max(rows, 1 + max(pieces.tokens))
    counts = count(pieces.backend, texts, size)
    _refuse(source, recipe, pieces, counts)
    must_stay = _must_stay(source, pieces, size)
    _refuse_few(source, recipe, pieces, counts, must_stay)
    chosen = choose(pieces, counts.seen, must_stay, recipe.vocabulary_size)
    fallback = measure(pieces, chosen, counts, texts)
    kept = choose(pieces, counts.all, must_stay, recipe.vocabulary_size)
    share = float(counts.all[kept].sum() / counts.all.sum())
    trim = Trim(rows, int((kept < rows).sum()), counts.texts, int(counts.all.sum()), round(share, 6), fallback)
    _say(recipe, trim, counts)
    with workspace(place) as work:
        _write(work, source, pieces, kept, rows, texts)
        found = find_model(str(work), None, source.trusted)
        found = replace(found, name=source.name, repo_id=source.repo_id, revision=source.revision, origin=source)
        check_same(source, found, kept[kept < rows])
        yield found, trim


def _write(work: Path, source: Model, pieces: Pieces, kept: Ints, rows: int, texts: Sequence[str]) -> None:
    """The whole model in `work`."""
    new = {old: i for i, old in enumerate(kept.tolist())}
    now = int((kept < rows).sum())
    carried.copy(source.files, source.path, work, source.trusted)
    for name in ("README.md", RECIPE):  # what a card takes over, and how the model was made so far
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, work / name)
    raw = with_defaults(dense_config(source, source.model_class, {}), _whole(source), new)
    raw.pop("transformers_weights", None)
    config = renumbered(raw, new, rows, now)
    key = source.config.attribute_map.get("vocab_size", "vocab_size")
    if source.config.get_text_config() is source.config:
        config[key] = now
    write_json(work / "config.json", config)
    tokenizer.write(work, source, pieces, kept, texts)
    for file in _configurations(source):
        values = json.loads((work / file).read_text(encoding="utf-8"))
        changed = renumbered(values, new, rows, now)
        if "SpladePooling" in _type_of(source, file) and changed.get("word_embedding_dimension") == rows:
            changed["word_embedding_dimension"] = now
        if changed != values:
            write_json(work / file, changed)
    write_weights(work, source, kept[kept < rows], rows)


def _whole(source: Model) -> dict[str, Any]:
    """Its configuration with what its class adds by default, as JSON has it."""
    values: dict[str, Any] = json.loads(source.config.to_json_string(use_diff=False))
    return values


def _configurations(source: Model) -> list[str]:
    """Carried files, beside config.json, that may name tokens: how it generates, and modules that read its tokens."""
    names = source.files.files
    found = [n for n in names if n.endswith("config.json") and n != CONFIG]
    own = {n.rpartition("/")[0] for n in names if n.endswith(("tokenizer.json", CONFIG)) and "/" in n}
    return [n for n in found if n.rpartition("/")[0] not in own]


def _type_of(source: Model, file: str) -> str:
    """The module of sentence-transformers that a file configures, "" for another file."""
    if "modules.json" not in source.files.files or "/" not in file:
        return ""
    entries = json.loads((source.path / "modules.json").read_text(encoding="utf-8"))
    folder = file.rpartition("/")[0]
    return next((str(e.get("type", "")) for e in entries if str(e["path"]).rstrip("/") == folder), "")


def _must_stay(source: Model, pieces: Pieces, size: int) -> set[int]:
    """Ids that stay whatever the texts are: also rows without a token that a configuration names."""
    found = set(named(_whole(source)))
    for file in _configurations(source):
        found |= set(named(json.loads((source.path / file).read_text(encoding="utf-8"))))
    for ids in encoded(pieces.backend, own_texts(source)):
        found |= set(ids)
    for text in ("", "a"):  # what is put around any text
        found |= set(source.tokenizer(text, verbose=False)["input_ids"]) - {*encoded(pieces.backend, [text])[0]}
    return closed(pieces, {i for i in found if 0 <= i < size} | pieces.must_stay())


def _refuse(source: Model, recipe: Recipe, pieces: Pieces, counts: Counts) -> None:
    total = int(counts.all.sum())
    if total == 0:
        raise FactcliError(
            f"The tokenizer of {source.name} turns all of {recipe.vocabulary} into nothing: give texts as the model "
            "will read them."
        )
    spelt = sum(int(counts.all[i]) for i in np.flatnonzero(counts.all).tolist() if pieces.spelt(i)) / total
    if spelt > FOREIGN:
        raise FactcliError(
            f"{recipe.vocabulary} is in a language that the tokenizer of {source.name} hardly knows: {spelt:.0%} of "
            "its tokens are unknown or single letters; give texts in a language of the model."
        )


def _refuse_few(source: Model, recipe: Recipe, pieces: Pieces, counts: Counts, must_stay: set[int]) -> None:
    others = len(pieces.tokens) - len(must_stay)
    used = len(set(np.flatnonzero(counts.all).tolist()) - must_stay)
    if others and used < max(1, FEW * others):
        raise FactcliError(
            f"{recipe.vocabulary} uses {used} of the {others} tokens of {source.name} that could be kept, hardly any: "
            "give more text, in a language of the model."
        )


def _say(recipe: Recipe, trim: Trim, counts: Counts) -> None:
    if counts.nothing:
        note(f"{counts.nothing} texts of {recipe.vocabulary} give no token, and say nothing of the vocabulary.")
    if trim.after == trim.before and recipe.vocabulary_size is None:
        note(f"{recipe.vocabulary} uses every token: the vocabulary stays as it is.")
    elif trim.after == trim.before:
        note(f"--vocabulary-size {recipe.vocabulary_size} has room for every token: the vocabulary stays as it is.")
    if trim.fallback is None:
        note(f"{recipe.vocabulary} has too few texts to hold some out: what other texts lose was not measured.")
    else:
        note(trim.fallback.sentence())
