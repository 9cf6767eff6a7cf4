"""Mixed-rank: all at once, and the matrices help out until the factors stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Schedule, Stage, StageOptions, schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer


@schedules.register
class MixedRankSchedule(Schedule):
    """Every matrix is factorized before the first step; in training a layer answers with its matrix with a probability
    that falls to zero (see training/mixed.py)."""

    name = "mixed-rank"
    paper = "Ren and Zhu 2024, Low-Rank Prune-And-Factorize for Language Model Compression"

    def stages(self, layers: list[Layer], options: StageOptions) -> tuple[Stage, ...]:
        return (Stage(0, tuple(layers)),)
