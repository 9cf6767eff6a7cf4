"""What holds candidates against the dense model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ..data.text_rows import Row
from ..models.model import Model

RuntimeFile = tuple[str, Path]  # backend, and where it is


class Judge(Protocol):
    """Some rows choose, others report: never the same one."""

    @property
    def allowed(self) -> float:
        """Points of 100 that may be lost."""

    def lost(self, small: Model, file: RuntimeFile | None) -> float:
        """Points lost on the rows that choose, by a model or its file for a runtime."""

    def reported(self, small: Model, file: RuntimeFile | None, seed: int) -> tuple[float, tuple[float, float]]:
        """Points lost on the rows that nothing was chosen by, and the interval of that."""

    def holds(self, rows: Sequence[Row]) -> list[bool]:
        """Of each of some rows, whether it is one of those that choose or report."""

    def to_json(self) -> dict[str, Any]:
        """The metric, the numbers of rows, what the dense model scores, what is allowed."""
