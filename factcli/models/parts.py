"""Where the bytes of a model are: embeddings, attention, feed-forward, head, and the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .locating import native_type

PARTS = ("embeddings", "attention", "feed-forward", "head", "rest")
_ATTENTION = re.compile(r"att|(^|[._])(q|k|v|out)_(lin|proj)|(^|\.)sa_layer_norm", re.IGNORECASE)
_EMBEDDINGS = re.compile(r"embed|(^|\.)(shared|wte|wpe)(\.|$)", re.IGNORECASE)


def base_of(raw: Mapping[str, Any]) -> str:
    """What names of tensors of the base model begin with, for a config.json."""
    from transformers import MODEL_MAPPING
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    found: Any = MODEL_MAPPING[CONFIG_MAPPING[native_type(dict(raw))]]
    return str((found[0] if isinstance(found, (list, tuple)) else found).base_model_prefix)


def part_of(name: str, base: str, headed: bool) -> str:
    """The part that a tensor belongs to, by its name in a file. `base` is the prefix of the base model, and `headed`
    says whether there is anything but the base model: what lacks the prefix is then the head's."""
    inner = name.removeprefix(f"{base}.")
    path = inner.split(".")
    if any(step.isdigit() for step in path) and not _EMBEDDINGS.search(path[0]):
        return "attention" if _ATTENTION.search(inner) else "feed-forward"
    if _EMBEDDINGS.search(inner):
        return "embeddings"
    return "head" if headed and inner == name else "rest"


def bytes_by_part(sizes: Mapping[str, int], base: str) -> dict[str, int]:
    """The bytes of each part, of tensors by name; parts without any are left out."""
    headed = any(name.startswith(f"{base}.") for name in sizes)
    found: dict[str, int] = {}
    for name, size in sizes.items():
        part = part_of(name, base, headed)
        found[part] = found.get(part, 0) + size
    return {part: found[part] for part in PARTS if part in found}


def compared(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, Any]:
    """By part: `before` and `after`."""
    return {p: {"before": before.get(p, 0), "after": after.get(p, 0)} for p in PARTS if p in before or p in after}
