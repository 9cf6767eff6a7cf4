"""Rights to files, which the superuser, as whom many machines run tests, does not heed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534


@contextmanager
def as_nobody(asked: bool = False) -> Iterator[None]:
    """As another user, where root runs this, whom no rights stop. With `asked` only what is asked of `os.access` is
    answered as to that user."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(NOBODY, 0 if asked else NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


def heed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the rest of the test the modes of files hold as they do for their owner who is no superuser: for folders of
    pytest, into which no other user may look."""
    opened = Path.open

    def allowed(path: Any, mode: int, **rest: Any) -> bool:
        return os.path.exists(path) and os.stat(path).st_mode >> 6 & mode == mode

    def open_(path: Path, mode: str = "r", *args: Any, **rest: Any) -> Any:
        if path.is_file() and not allowed(path, os.R_OK if mode.startswith("r") else os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, mode, *args, **rest)

    monkeypatch.setattr(os, "access", allowed)
    monkeypatch.setattr(Path, "open", open_)
