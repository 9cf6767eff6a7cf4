"""What a schedule is: when which layers of a plan are factorized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...recipe.registry import Choice, structures
from ...recipe.registry import schedules as schedules

if TYPE_CHECKING:
    from ...compress.plan import Layer


@dataclass(frozen=True)
class Stage:
    """`layers` are factorized, from the weights as they are then, before training step `step` (0: at the start)."""

    step: int
    layers: tuple[Layer, ...]


class Schedule(Choice):
    """Cuts a plan into stages. The main phase of training begins with the last of them; `gradual` says that there is
    training between them, `mixes` that the matrices still answer for a while. `helps` is what to try after a failed
    run, the start of a list."""

    paper: ClassVar[str]
    gradual: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    helps: ClassVar[str] = ""

    def stages(self, layers: list[Layer]) -> tuple[Stage, ...]:
        """The stages for the layers that the plan factorizes, by step. Raises UsageError for options that do not
        fit."""
        raise NotImplementedError


def schedule_that(gradual: bool = False, mixes: bool = False) -> str:
    """The first schedule that does this, and no more."""
    return next(n for n in schedules if (schedules[n].gradual, schedules[n].mixes) == (gradual, mixes))


def default_schedule(structure: str) -> str:
    """What the seed paper found best for a structure (section 4.2)."""
    return schedule_that(gradual=structures[structure].gradual)
