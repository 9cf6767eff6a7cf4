"""The texts that say which tokens are used: the user's file, and what the model itself is given beside any text."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..data.tables import read_table
from ..data.tasks import PAIR, TEXT, load_split, user_task
from ..data.text import COMPRESSIONS
from ..errors import FactcliError
from ..models.model import Model
from ..models.trained import read_trained

HELD_OUT = 10  # every tenth text is held out where it is measured what others lack
_BATCH = 1000


def read_texts(file: str, text_column: Sequence[str], shared: bool = False) -> list[str]:
    """Every text of a file that --calibration could name, of two columns one after the other; blank ones are left out.
    `shared`: the columns are those of other data too, and of no concern to a file of lines.

    Raises FactcliError for a file that is absent, empty or has no such column.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise FactcliError(f"--vocabulary {file} is not there: give a file of texts as the model will read them.")
    table = read_table(path)
    task = user_task({"train": table}, () if shared and is_plain(path) else text_column, None)
    data = load_split(task, "train", skip_blank=True)
    columns = [data[name][:] for name in (TEXT, PAIR) if name in data.column_names]
    return [text for row in zip(*columns, strict=True) for text in row if text.strip()]


def is_plain(path: Path) -> bool:
    """Whether a file is of lines, without columns."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower() == ".txt"


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts, many at a time."""
    return (texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH))


def own_texts(source: Model) -> list[str]:
    """What the model's files say that it is given beside the user's text, or answers: prompts, the prefixes of its
    tasks, names of labels, and what it was trained with."""
    trained = read_trained(source.path)
    prompts = _prompts(source.path / "config_sentence_transformers.json")
    tasks: Any = source.raw.get("task_specific_params")
    prefixes = [t.get("prefix") for t in tasks.values() if isinstance(t, dict)] if isinstance(tasks, dict) else []
    names: Any = source.raw.get("id2label")
    labels = names.values() if isinstance(names, dict) else ()
    columns = [f"{column}:" for column in trained.text_column] if trained.prompt else []
    found = chain(prompts, prefixes, labels, trained.labels, columns, [trained.prompt])
    return [text for text in found if isinstance(text, str) and text.strip()]


def _prompts(file: Path) -> list[Any]:
    try:
        prompts = json.loads(file.read_text(encoding="utf-8")).get("prompts")
    except (OSError, ValueError, AttributeError):  # there is none, or whoever loads it says so
        return []
    return list(prompts.values()) if isinstance(prompts, dict) else []
