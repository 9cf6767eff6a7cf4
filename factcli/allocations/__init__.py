"""Allocations: who gets how much of the budget. One file each; the registry is the only list."""

from . import uniform  # noqa: F401
from .base import Allocation, Request, allocations

__all__ = ["Allocation", "Request", "allocations"]
