"""What models answer and how long they take, in a process that cannot import factcli: one for each runtime."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMBED = Path(__file__).with_name("embed.py").resolve()
SHAPE = (8, 128)  # texts at a time, and tokens of those that are timed


@dataclass(frozen=True)
class Measured:
    """`embeddings` (sentences, 384) are normalized; `ran` is the class that gave them."""

    runtime: str
    ran: str
    bytes: int
    ms: float
    embeddings: NDArray[Any]

    def cosine(self, dense: "Measured") -> float:
        """The mean cosine to the dense model's embeddings."""
        return float((self.embeddings * dense.embeddings).sum(1).mean())


def measure(python: Path, runtime: str, folders: Sequence[Path], file: str | None) -> list[Measured]:
    """A model in each of the folders, or its `file` there."""
    folders = [folder.resolve() for folder in folders]
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "embeddings.npz"
        command = [str(python), str(EMBED), runtime, *map(str, SHAPE), str(out), file or "-", *map(str, folders)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=work)
        with np.load(out) as found:
            embeddings = [found[str(number)] for number in range(len(folders))]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Measured(runtime, line["class"], _size(folder, file), line["ms"], answers)
        for folder, line, answers in zip(folders, lines, embeddings, strict=True)
    ]


def _size(folder: Path, file: str | None) -> int:
    parts = folder.glob("*.safetensors") if file is None else (folder / file, (folder / file).with_suffix(".bin"))
    return sum(part.stat().st_size for part in parts)
