"""How large the file is that a model is shipped as, by what its targets have in parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..recipe.factorizing import Recipe
from ..recipe.registry import formats, structures

if TYPE_CHECKING:
    from ..models.model import Model

_ENTRY = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # bytes of an entry of a matrix
_HEADER = 130  # bytes that a file of safetensors says of a tensor
MEGABYTE = 10**6


@dataclass(frozen=True)
class FileSize:
    """`entry` bytes for each parameter of the targets, and `fixed` bytes for all else."""

    entry: int
    fixed: float

    def megabytes(self, targets: int) -> float:
        """Of a file whose targets have this many parameters."""
        return (self.fixed + self.entry * targets) / MEGABYTE

    def within(self, megabytes: float) -> int:
        """The parameters that the targets may have."""
        return int((megabytes * MEGABYTE - self.fixed) / self.entry)

    def corrected(self, targets: int, found: int) -> FileSize:
        """After a file whose targets have this many parameters was found to have so many bytes."""
        return replace(self, fixed=found - self.entry * targets)


def file_size(source: Model, recipe: Recipe, format: tuple[str, ...] = (), precision: str = "float32") -> FileSize:
    """Of the weights of what a recipe makes of `source`, in the precision that it is saved in, or of the largest of the
    files for runtimes. What these keep beside the numbers is an estimate, and a little more than was found."""
    targets = source.targets(recipe.include, recipe.exclude, recipe.factorizes_embeddings)
    state = (source.outline.written() | source.outline.extra).values()
    saved = precision if format else recipe.dtype or source.dtype
    entry = _ENTRY.get(saved, 4)
    other = 4 if saved == "int8" else entry
    matrices = sum(t.numel() for t in state if t.ndim > 1) - sum(t.size for t in targets)
    vectors = sum(t.numel() for t in state if t.ndim < 2)
    structure = structures[recipe.method].made(recipe)
    embedding = structures["embedding"].made(recipe)
    index = sum((structure if t.embedding is None else embedding).index_bytes(t.shape) for t in targets)
    beside = max((formats[name].beside(precision) for name in format), default=_HEADER)
    return FileSize(entry, entry * matrices + other * vectors + index + beside * (len(state) + 2 * len(targets)))
