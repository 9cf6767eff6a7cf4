"""How an embedding model is meant to be used: how texts are written for it, and how its vectors are compared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FactcliError, one_line

CONFIG, TEXTS = "config_sentence_transformers.json", "sentence_bert_config.json"
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
_DOCUMENTS = ("document", "passage", "corpus")  # as encode_document of sentence-transformers looks for it


@dataclass(frozen=True)
class Usage:
    """`similarity` is one of SIMILARITIES. `text`, `query` and `document` are the prompts before a text of a pair, a
    query and a document; "" for none. `lower`: texts are read in small letters, whatever the tokenizer does."""

    similarity: str = "cosine"
    text: str = ""
    query: str = ""
    document: str = ""
    lower: bool = False


def read_usage(folder: Path, name: str) -> Usage:
    """What the files of sentence-transformers in the folder of a model say; the cosine and no prompts without them.

    Raises FactcliError for a file that cannot be read, and a similarity that is none of SIMILARITIES.
    """
    said, texts = _read(folder / CONFIG, name), _read(folder / TEXTS, name)
    usual, similarity = said.get("default_prompt_name"), said.get("similarity_fn_name") or "cosine"
    given = said.get("prompts") or {}
    if not isinstance(given, dict):
        raise FactcliError(f"{CONFIG} of {name} has prompts that are not named ({given!r}): repair it.")
    prompts = {str(key): str(text) for key, text in given.items() if text is not None}
    if similarity not in SIMILARITIES:
        raise FactcliError(
            f"{name} compares its vectors by {similarity!r} ({CONFIG}): take a model that names one of "
            f"{', '.join(SIMILARITIES)}."
        )
    text = prompts.get(usual, "") if usual is not None else ""
    document = next(filter(None, (prompts.get(key) for key in _DOCUMENTS)), "")
    return Usage(similarity, text, prompts.get("query", ""), document, texts.get("do_lower_case") is True)


def longest_text(folder: Path) -> int | None:
    """The tokens at which sentence-transformers cuts the texts of the model in `folder`; None where it does not say."""
    try:
        found = json.loads((folder / TEXTS).read_text(encoding="utf-8")).get("max_seq_length")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) and found > 0 else None


def _read(file: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FactcliError(f"{file.name} of {name} cannot be read ({one_line(error)}): repair it.") from error
    if not isinstance(found, dict):
        raise FactcliError(f"{file.name} of {name} is no JSON object: repair it.")
    return found
