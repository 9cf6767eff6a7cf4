"""Statistics on disk, so that trying another budget does not repeat the pass."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from ..files.caches import find, keep
from ..models.model import Model
from .gather import Calibration
from .losses import Example
from .statistics import Kind, Statistics

VERSION = 8  # of what is gathered and how: raise it when the numbers change
KIND = "calibration"
_FIELDS = tuple(f.name for f in fields(Statistics) if f.name != "tokens")


def fingerprint(source: Model, examples: Sequence[Example], kinds: Iterable[Kind], settings: dict[str, Any]) -> str:
    """A name for what a pass would give: of the model (weights and configuration), the tokens and labels that it
    would see, in any order, and the settings."""
    digest = hashlib.sha256(repr((VERSION, sorted(k.value for k in kinds), sorted(settings.items()))).encode())
    digest.update(json.dumps(source.raw, sort_keys=True).encode())
    for file in source.stored.files:
        with file.open("rb") as stream:
            while chunk := stream.read(2**24):
                digest.update(chunk)
    for line in sorted(repr((e.ids, e.types, e.label)) for e in examples):
        digest.update(line.encode())
    return digest.hexdigest()


def read(key: str) -> Calibration | None:
    """What was kept under `key`; None where there is nothing, or nothing whole."""
    found = find(KIND, key)
    if found is None:
        return None
    stored, about = found
    try:
        tensors: dict[str, Tensor] = {k: stored.get_tensor(k) for k in stored.keys()}  # noqa: SIM118
        statistics = {
            name: Statistics(entry["tokens"], **{f: tensors[entry[f]] for f in _FIELDS if f in entry})
            for name, entry in about["targets"].items()
        }
        return Calibration(statistics, about["examples"], about["tokens"], cached=True)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None


def write(key: str, calibration: Calibration) -> None:
    """Keep it, if that can be."""
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
    keep(KIND, key, tensors, {"targets": targets, "examples": calibration.examples, "tokens": calibration.tokens})
