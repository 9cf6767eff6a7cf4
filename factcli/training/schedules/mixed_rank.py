"""Mixed-rank: all at once, and the matrices help out until the factors stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...recipe.fields import Options, option
from .base import Schedule, Stage, schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer

SHARE = "a number above 0 and at most 1"


class MixedOptions(Options):
    """What a layer answers with."""

    panel = "Stages"

    mixed_with: str | None = option(None, "The dense model whose matrices help.", "the model itself", place=True)
    mixed_start: float = option(0.5, "Probability of the matrix at first.", only="file", gt=0, le=1, called=SHARE)
    mixed_until: float = option(0.8, "Share of the steps after which it is 0.", only="file", gt=0, le=1, called=SHARE)
    consistency: float = option(0.0, "Weight of the loss between both answers.", only="file", ge=0)


@schedules.register
class MixedRankSchedule(Schedule):
    """Every matrix is factorized before the first step; in training a layer answers with its matrix with a probability
    that falls to zero (see training/mixed.py)."""

    name = "mixed-rank"
    mixes = True
    options = MixedOptions
    own: MixedOptions
    paper = "Ren and Zhu 2024, Low-Rank Prune-And-Factorize for Language Model Compression"

    def stages(self, layers: list[Layer]) -> tuple[Stage, ...]:
        return (Stage(0, tuple(layers)),)
