"""What took long to compute, kept on disk between runs and for other processes. Safetensors, never pickle."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..notes import note
from . import atomic as files

LIMIT = 8 * 2**30  # bytes kept of each kind; the entries that were not used for longest go first
_said: set[Path] = set()  # folders that cannot be written


def cache_directory(kind: str) -> Path:
    """The folder `kind` below FACTCLI_CACHE, else below factcli in the user's cache directory."""
    chosen = os.environ.get("FACTCLI_CACHE")
    return (Path(chosen).expanduser() if chosen else user_cache_path("factcli", appauthor=False)) / kind


def find(kind: str, key: str) -> tuple[Any, dict[str, Any]] | None:
    """The open file that was kept under `key`, and what was said about it; None where there is nothing whole."""
    file = _file(kind, key)
    try:
        stored: Any = safe_open(file, "pt")
        about: dict[str, Any] = json.loads(stored.metadata()["factcli"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    with suppress(OSError):  # a cache may be for reading only
        file.touch()
    return stored, about


@contextmanager
def making(kind: str, key: str) -> Iterator[bool]:
    """Around `find`, computing and `keep`: of several processes one computes, the others wait and then find it. Gives
    False where nothing can be kept, which is said."""
    folder = cache_directory(kind)
    try:
        if not (folder.is_absolute() or os.environ.get("FACTCLI_CACHE")):
            raise OSError("there is no home directory")
        folder.mkdir(parents=True, exist_ok=True)
        probe = files.hidden(folder / key, files.PARTIAL)
        probe.touch()
        probe.unlink()
    except OSError as error:
        _say_once(folder, str(error.strerror or error))
        yield False
        return

    def waiting() -> None:
        note(f"Waiting for another process, which computes the same for {folder}.")

    with files.locked(files.lock_of(folder / key), wait=True, waiting=waiting) as held:
        if held:
            files.recover(_file(kind, key))
        yield True


def keep(kind: str, key: str, tensors: dict[str, Tensor], about: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """Whole or not at all, as `find` then gives it. Where it cannot be written, which is no error, that is said."""
    file = _file(kind, key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(file) as part:
            save_file(tensors, part, metadata={"factcli": json.dumps(about)})
        kept = find(kind, key)
    except (OSError, SafetensorError) as error:
        _say_once(file.parent, getattr(error, "strerror", None) or " ".join(str(error).split())[:200])
        return None
    with suppress(OSError):
        _prune(file)
    return kept


def _prune(kept: Path) -> None:
    """The folder of `kept` holds LIMIT bytes, or `kept` alone; what killed processes left goes after a day."""
    found: list[tuple[float, int, Path]] = []
    for file in kept.parent.iterdir():
        with suppress(OSError):  # another process may prune as well
            about = file.stat()
            if file.suffix in (f".{files.PARTIAL}", f".{files.LOCK}") and time.time() - about.st_mtime > files.DAY:
                file.unlink()
            elif file.suffix == ".safetensors" and file != kept:
                found.append((about.st_mtime, about.st_size, file))
    total = kept.stat().st_size
    for _, size, file in sorted(found, reverse=True):
        total += size
        if total > LIMIT:
            with suppress(OSError):
                file.unlink()


def _file(kind: str, key: str) -> Path:
    return cache_directory(kind) / f"{key}.safetensors"


def _say_once(folder: Path, reason: str) -> None:
    if folder not in _said:
        _said.add(folder)
        note(f"{folder} cannot be written ({reason}): what is computed is not kept for other runs.")
