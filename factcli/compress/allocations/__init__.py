"""Allocations: who gets how much of the budget. One file each; the registry is the only list."""

from . import uniform, global_  # isort: skip  # noqa: F401  (the order of the help text)
from .base import Allocation, Gains, Request, allocations

__all__ = ["Allocation", "Gains", "Request", "allocations"]
