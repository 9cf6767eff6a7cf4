"""A training of one step, and a look at what a refusal leaves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factcli.errors import FactcliError

FAST: dict[str, Any] = {"max_steps": 1, "batch_size": 8, "save_steps": 0, "device": "cpu"}


def tree(folder: Path) -> dict[str, str | bytes | None]:
    """Everything below a folder: contents of files, targets of links."""
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


def refuse(folder: Path, said: str, action: Callable[[], Any]) -> None:
    before = tree(folder)
    with pytest.raises(FactcliError, match=said):
        action()
    assert tree(folder) == before
