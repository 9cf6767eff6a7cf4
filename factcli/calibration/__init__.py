"""Calibration: a little text -> statistics of every target, in one pass."""

from .statistics import Kind, Statistics

__all__ = ["Kind", "Statistics"]
