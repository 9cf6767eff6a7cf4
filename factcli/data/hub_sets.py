"""Data sets of the Hub as tables: owner/name, or owner/name:configuration."""

import re

from ..hub.data import load_data
from .columnar import from_arrow
from .tables import Table

_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?::(?P<name>[^:/]+))?", re.ASCII)


def parse_id(text: str) -> tuple[str, str | None] | None:
    """The id of a data set and its configuration, of owner/name:configuration; None for what is no such id."""
    found = _ID.fullmatch(text)
    return (found["id"], found["name"]) if found else None


def read_hub(repo_id: str, name: str | None, split: str, revision: str | None, otherwise: str) -> Table:
    """A split of a data set. Raises FactcliError as `load_data` does."""
    names, columns, rows, classes = from_arrow(load_data(repo_id, name, split, revision, otherwise))
    return Table(f"{repo_id}{f':{name}' if name else ''}/{split}", names, columns, rows, classes=classes)
