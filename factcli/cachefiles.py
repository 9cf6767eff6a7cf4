"""What took long to compute, kept on disk between runs. Safetensors, never pickle."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

LIMIT = 8 * 2**30  # bytes kept of each kind; the entries that were not used for longest go first


def cache_directory(kind: str) -> Path:
    """The folder `kind` below FACTCLI_CACHE, else below factcli in the user's cache directory."""
    chosen = os.environ.get("FACTCLI_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factcli"
    return (Path(chosen).expanduser() if chosen else base) / kind


def find(kind: str, key: str) -> tuple[Any, dict[str, Any]] | None:
    """The open file that was kept under `key`, and what was said about it; None where there is nothing whole."""
    file = cache_directory(kind) / f"{key}.safetensors"
    try:
        stored: Any = safe_open(file, "pt")
        about: dict[str, Any] = json.loads(stored.metadata()["factcli"])
        file.touch()
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return stored, about


def keep(kind: str, key: str, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Whole or not at all; a cache that cannot be written is no error."""
    folder = cache_directory(kind)
    part = folder / f".{key}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={"factcli": json.dumps(about)})
        part.replace(folder / f"{key}.safetensors")
        _prune(folder)
    except (OSError, SafetensorError):
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _prune(folder: Path) -> None:
    entries = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in folder.glob("*.safetensors")), reverse=True)
    total = 0
    for _, size, file in entries:
        total += size
        if total > LIMIT:
            file.unlink(missing_ok=True)
