"""What a file format is: the names of its files, the precisions that it comes in, how one is written and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..recipe.registry import formats as formats

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Batch = Mapping[str, "NDArray[Any]"]
CPU = "CPU"


class Session(Protocol):
    """A file that is loaded to run on the CPU. `computes` is the precision that its products are computed in."""

    inputs: tuple[str, ...]
    computes: str

    def run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """The outputs by name, of the inputs (batch, length) that the file has among `batch`."""
        ...


def complete(inputs: Sequence[str], batch: Batch) -> dict[str, NDArray[Any]]:
    """The inputs of a file: of a batch that lacks some, every token counts and is of the first text."""
    import numpy as np

    ids = batch["input_ids"]
    usual = {"attention_mask": np.ones_like, "token_type_ids": np.zeros_like}
    return {name: batch[name] if name in batch else usual[name](ids) for name in inputs}


@dataclass(frozen=True)
class Made:
    """A file as it is made: where its float32 ONNX graph is, `rows` of real inputs to look at (none where there are no
    texts), and the layers that 8 bits harm, by their names in the graph."""

    graph: Path
    rows: Sequence[Batch] = ()
    harmed: frozenset[str] = field(default_factory=frozenset)


class Format:
    """A format of files, by the name that --format has for it; also a backend of eval and bench.

    `static` are the precisions that have to see texts.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    static: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def file(cls, precision: str) -> str:
        """The path of the file to load, relative to the model's directory: the one that loaders look for."""
        raise NotImplementedError

    @classmethod
    def beside(cls, precision: str) -> int:
        """Bytes that a file has beside the numbers of a tensor, on average: graph, names, scales."""
        raise NotImplementedError

    @classmethod
    def parts(cls, file: Path) -> list[Path]:
        """The files that belong to one, it included."""
        raise NotImplementedError

    @classmethod
    def write(cls, made: Made, precision: str, file: Path) -> None:
        """Write `file`. Raises FactcliError where the runtime cannot take the graph."""
        raise NotImplementedError

    @classmethod
    def open(cls, file: Path, threads: int | None = None, exact: bool = False) -> Session:
        """Load a file. `exact`: compute in float32, whatever the runtime takes where it is left to choose.

        Raises FactcliError for a file that it cannot read or run."""
        raise NotImplementedError
