"""What a schedule is: when which layers of a plan are factorized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...compress.structures import structures
from ...registry import Choice, Registry

if TYPE_CHECKING:
    from ...compress.plan import Layer

ORDERS = ("high-to-low", "low-to-high")


@dataclass(frozen=True)
class StageOptions:
    """`steps` of training between stages; `stages` groups the blocks (None: one stage a block); `order` of blocks."""

    steps: int = 500
    stages: int | None = None
    order: str = "high-to-low"


@dataclass(frozen=True)
class Stage:
    """`layers` are factorized, from the weights as they are then, before training step `step` (0: at the start)."""

    step: int
    layers: tuple[Layer, ...]


class Schedule(Choice):
    """Cuts a plan into stages. The main phase of training begins with the last of them; `gradual` says that there is
    training between them."""

    paper: ClassVar[str]
    gradual: ClassVar[bool] = False

    def stages(self, layers: list[Layer], options: StageOptions) -> tuple[Stage, ...]:
        """The stages for the layers that the plan factorizes, by step. Raises UsageError for options that do not
        fit."""
        raise NotImplementedError


schedules: Registry[type[Schedule]] = Registry("schedule", "--schedule")


def default_schedule(structure: str) -> str:
    """What the seed paper found best for a structure (section 4.2)."""
    return next(name for name in schedules if schedules[name].gradual == structures[structure].gradual)
