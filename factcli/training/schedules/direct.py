"""Direct: all at once, then train."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Schedule, Stage, schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer


@schedules.register
class Direct(Schedule):
    """Every matrix is factorized before the first step."""

    name = "direct"
    helps = "--schedule staged, "
    paper = "Gupta et al. 2024, An Empirical Investigation of Matrix Factorization Methods for Pre-trained Transformers"

    def stages(self, layers: list[Layer]) -> tuple[Stage, ...]:
        return (Stage(0, tuple(layers)),)
