"""Criteria: how an error in a matrix is counted. One file each; the registry is the only list."""

from . import frobenius, fisher_rows, fisher, activation, kfac, sparsity  # isort: skip  # noqa: F401  (the order of the help text)
from .base import Criterion, Evidence, criteria

__all__ = ["Criterion", "Evidence", "criteria"]
