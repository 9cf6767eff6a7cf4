"""How a model was trained, as far as who measures it has to do the same: kept in the export's recipe file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from ..recipe.file import FILE_NAME, TRAINED


@dataclass(frozen=True)
class Trained:
    """What the model was trained on.

    `task` is a GLUE task, None for the user's files; `text_column` one or two columns in their order, `label_column`
    that of the labels, `labels` the classes in the order of the task. `max_length` is where texts were cut. `prompt` is
    what the inputs of a text-to-text model begin with; None for others.
    """

    task: str | None = None
    text_column: tuple[str, ...] = ()
    label_column: str | None = None
    labels: tuple[str, ...] = ()
    max_length: int | None = None
    prompt: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in values.items() if v not in (None, [])}


def read_trained(folder: Path) -> Trained:
    """What the export in `folder` remembers; nothing where it was not trained here, or says what nobody could mean."""
    try:
        whole = yaml.safe_load((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return Trained()
    whole = whole if isinstance(whole, dict) else {}
    section = whole.get(TRAINED)
    if not isinstance(section, dict):  # of an earlier version, which kept the length alone
        training = whole.get("training")
        section = {"max_length": training.get("max_length")} if isinstance(training, dict) else {}
    given = {f.name: value for f in fields(Trained) if (value := _read(f.name, section.get(f.name))) is not None}
    return Trained(**given)


def _read(name: str, value: Any) -> Any:
    if name in ("text_column", "labels"):
        return tuple(map(str, value)) if isinstance(value, list) else None
    if name == "max_length":
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
    return value if isinstance(value, str) else None
