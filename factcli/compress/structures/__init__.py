"""Structures: what a matrix becomes. One file each; the registry is the only list."""

from . import low_rank, block_low_rank, monarch, pivoted, embedding  # isort: skip  # noqa: F401  (the order of the help text)
from .base import Structure, Tensors, structures
from .embedding import Embedding

__all__ = ["Embedding", "Structure", "Tensors", "structures"]
