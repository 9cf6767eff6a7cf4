"""What happens in a run, for whoever watches it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `kind` is run, stage, step, loss, evaluation, checkpoint, resume or failed. `step` of `total` counts training steps
    of the run, `stage` of `stages` its stages (0: not yet factorized). `loss` is the mean since the last one, `metrics`
    are those of the validation data. `text` says it in words.
    """

    kind: str
    text: str = ""
    step: int = 0
    total: int = 0
    stage: int = 0
    stages: int = 0
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


Watch = Callable[[Event], None]
