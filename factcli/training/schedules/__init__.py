"""Schedules: how training meets the factors. One file each; the registry is the only list."""

from . import direct, mixed_rank, staged  # noqa: F401
from .base import Schedule, Stage, default_schedule, schedule_that, schedules

__all__ = ["Schedule", "Stage", "default_schedule", "schedule_that", "schedules"]
