"""SHA-256 of what decides a result, in hexadecimal: equal names are no proof of equal content."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


def digest_of_files(files: Iterable[str | Path]) -> str:
    """Of the content of files, in this order; the name of a single file's is what sha256sum says."""
    digest = hashlib.sha256()
    parts = [_digest_of(path, path.stat().st_size, path.stat().st_mtime_ns) for path in map(Path, files)]
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()


@cache
def _digest_of(file: Path, size: int, changed: int) -> str:
    """Once in a process; `size` and `changed` tell a file that was written meanwhile."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_values(values: Iterable[str]) -> str:
    """Of texts, in this order."""
    digest = hashlib.sha256()
    for value in values:
        data = value.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def digest_of_features(examples: Sequence[Mapping[str, Any]]) -> str:
    """Of encoded examples, numbers and lists of numbers by name, in this order."""
    digest = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            data = np.asarray(example[name])
            digest.update(f"{name}{data.shape}{data.dtype.kind}".encode())
            digest.update(data.astype(np.float64 if data.dtype.kind == "f" else np.int64).tobytes())
    return digest.hexdigest()
