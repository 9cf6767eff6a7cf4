"""A run as it is carried out: one JSON object, which goes to a process or a machine and into the folder."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .file import SHARED

PLANNED, RUNNING, DONE, FAILED = "planned", "running", "done", "failed"
STATES = (PLANNED, RUNNING, DONE, FAILED)


@dataclass(frozen=True)
class Task:
    """`id` is of options, model, data and code; `key` of the same without the code.

    `shown` are the options as a reader of the folder sees them, without directories, which belong to one machine;
    `options` have them. `parts`: option -> id of the run whose model is its value; `after`: ids of all that must be
    done before; `keeps`: its model is a part of others; `texts`: option -> the content of the file that it names.
    """

    id: str
    key: str
    name: str
    labels: Mapping[str, str]
    commands: tuple[str, ...]
    options: Mapping[str, Any]
    shown: Mapping[str, Any]
    parts: Mapping[str, str]
    after: tuple[str, ...]
    keeps: bool
    texts: Mapping[str, str]

    def planned(self) -> dict[str, Any]:
        """What the folder says of it before it is run."""
        values = asdict(self)
        del values["options"], values["texts"], values["shown"], values["parts"]
        shown = dict(self.shown) | {name: f"{SHARED}{id}" for name, id in self.parts.items()}
        return values | {"commands": list(self.commands), "after": list(self.after), "options": shown}
