"""Structures: what a matrix becomes. One file each; the registry is the only list."""

from . import low_rank, block_low_rank, monarch, pivoted  # isort: skip  # noqa: F401  (the order of the help text)
from .base import Structure, Tensors, structures

__all__ = ["Structure", "Tensors", "structures"]
