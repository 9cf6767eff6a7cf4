"""How an embedding model is meant to be used: what stands before its texts, and how its vectors are compared."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import FactcliError, one_line

CONFIG = "config_sentence_transformers.json"
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
_DOCUMENTS = ("document", "passage", "corpus")  # as encode_document of sentence-transformers looks for it


@dataclass(frozen=True)
class Usage:
    """`similarity` is one of SIMILARITIES. `text`, `query` and `document` are the prompts before a text of a pair, a
    query and a document; "" for none."""

    similarity: str = "cosine"
    text: str = ""
    query: str = ""
    document: str = ""


def read_usage(folder: Path, name: str) -> Usage:
    """What config_sentence_transformers.json in the folder of a model says; the cosine and no prompts without it.

    Raises FactcliError for a file that cannot be read, and a similarity that is none of SIMILARITIES.
    """
    file = folder / CONFIG
    if not file.is_file():
        return Usage()
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        prompts = {str(key): str(text) for key, text in (said.get("prompts") or {}).items() if text is not None}
        usual, similarity = said.get("default_prompt_name"), said.get("similarity_fn_name") or "cosine"
    except (OSError, ValueError, AttributeError) as error:
        raise FactcliError(f"{CONFIG} of {name} cannot be read ({one_line(error)}): repair it.") from error
    if similarity not in SIMILARITIES:
        raise FactcliError(
            f"{name} compares its vectors by {similarity!r} ({CONFIG}): take a model that names one of "
            f"{', '.join(SIMILARITIES)}."
        )
    text = prompts.get(usual, "") if usual is not None else ""
    document = next(filter(None, (prompts.get(key) for key in _DOCUMENTS)), "")
    return Usage(similarity, text, prompts.get("query", ""), document)
