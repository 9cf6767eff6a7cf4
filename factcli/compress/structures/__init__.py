"""Structures: what a matrix becomes. One file each; the registry is the only list."""

from . import low_rank, block_low_rank, monarch  # isort: skip  # noqa: F401  (the order of the help text)
from .base import Factors, Structure, structures

__all__ = ["Factors", "Structure", "structures"]
