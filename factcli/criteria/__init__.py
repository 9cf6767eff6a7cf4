"""Criteria: how an error in a matrix is counted. One file each; the registry is the only list."""

from . import frobenius  # noqa: F401
from .base import Criterion, criteria

__all__ = ["Criterion", "criteria"]
