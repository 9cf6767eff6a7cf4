"""Statistics on disk, so that trying another budget does not repeat the pass. Safetensors, never pickle."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..source import Source, weight_files
from .gather import Calibration
from .losses import Example
from .statistics import Kind, Statistics

VERSION = 2  # of what is gathered and how: raise it when the numbers change
LIMIT = 8 * 2**30  # bytes kept; the entries that were not used for longest go first
_FIELDS = tuple(f.name for f in fields(Statistics) if f.name != "tokens")


def cache_directory() -> Path:
    """FACTCLI_CACHE, else factcli below the user's cache directory."""
    chosen = os.environ.get("FACTCLI_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "factcli"
    return (Path(chosen).expanduser() if chosen else base) / "calibration"


def fingerprint(source: Source, examples: Sequence[Example], kinds: Iterable[Kind], settings: dict[str, Any]) -> str:
    """A name for what a pass would give: of the model (weights and configuration), the tokens and labels that it
    would see, in any order, and the settings."""
    digest = hashlib.sha256(repr((VERSION, sorted(k.value for k in kinds), sorted(settings.items()))).encode())
    digest.update(json.dumps(source.raw, sort_keys=True).encode())
    for file in weight_files(source.path, source.name):
        with file.open("rb") as stream:
            while chunk := stream.read(2**24):
                digest.update(chunk)
    for line in sorted(repr((e.ids, e.types, e.label)) for e in examples):
        digest.update(line.encode())
    return digest.hexdigest()


def read(key: str) -> Calibration | None:
    """What was kept under `key`; None where there is nothing, or nothing whole."""
    file = cache_directory() / f"{key}.safetensors"
    try:
        with safe_open(file, "pt") as stored:
            about = json.loads(stored.metadata()["factcli"])
            tensors: dict[str, Tensor] = {k: stored.get_tensor(k) for k in stored.keys()}  # noqa: SIM118
        statistics = {
            name: Statistics(entry["tokens"], **{f: tensors[entry[f]] for f in _FIELDS if f in entry})
            for name, entry in about["targets"].items()
        }
        file.touch()
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return Calibration(statistics, about["examples"], about["tokens"], cached=True)


def write(key: str, calibration: Calibration) -> None:
    """Keep it; a cache that cannot be written is no error."""
    names: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    targets: dict[str, dict[str, Any]] = {}
    for target, statistics in calibration.statistics.items():
        entry: dict[str, Any] = {"tokens": statistics.tokens}
        for field in _FIELDS:
            tensor = getattr(statistics, field)
            if tensor is not None:
                entry[field] = names.setdefault(id(tensor), str(len(names)))
                tensors[entry[field]] = tensor.cpu().contiguous()
        targets[target] = entry
    about = {"targets": targets, "examples": calibration.examples, "tokens": calibration.tokens}
    folder = cache_directory()
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
