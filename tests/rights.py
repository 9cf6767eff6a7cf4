"""Rights to files, which the superuser, as whom many machines run tests, does not heed."""

import os
from pathlib import Path
from typing import Any

import pytest


def heed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rest of the test the modes of files hold as they do for their owner who is no superuser."""
    opened = Path.open

    def allowed(path: Any, mode: int, **rest: Any) -> bool:
        return os.path.exists(path) and os.stat(path).st_mode >> 6 & mode == mode

    def open_(path: Path, mode: str = "r", *args: Any, **rest: Any) -> Any:
        if path.is_file() and not allowed(path, os.R_OK if mode.startswith("r") else os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *args, **rest)

    monkeypatch.setattr(os, "access", allowed)
    monkeypatch.setattr(Path, "open", open_)
