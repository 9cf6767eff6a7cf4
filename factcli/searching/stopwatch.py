"""How long a candidate takes for a pass on this machine, as `bench` measures it; and how long a search may."""

import time

import torch

from ..measuring.apart import Runner, measure_apart
from ..measuring.options import LEAST_ROUNDS, MOST_ROUNDS
from ..measuring.timing import Schedule
from ..models.fit import check_length, positions
from ..models.model import Model
from .goal import Latency
from .judging import RuntimeFile

SECONDS = 8.0


def milliseconds(small: Model, file: RuntimeFile | None, precision: str | None, how: Latency) -> float:
    """The median, in a process of its own, of a model or its file for a runtime (`precision`: what that is in)."""
    backend, path = file or ("torch", None)
    runner = Runner(small, backend, precision if path else None, path)
    cell = how.batch_size, how.sequence_length, "eager"
    (found,) = measure_apart(
        [runner], [cell], Schedule(LEAST_ROUNDS, MOST_ROUNDS, SECONDS), torch.get_num_threads()
    )  # fmt: skip
    return round(float(found["latency_ms"]["median"]), 3)


def check_long(source: Model, how: Latency) -> None:
    """Raises FactcliError for texts that are longer than the model takes."""
    check_length(source.name, positions(source.outline.model), how.sequence_length, "--sequence-length")


class Until:
    """The end of a search `seconds` after what `time.perf_counter` said when the command `started` (None: no end)."""

    def __init__(self, seconds: float | None, started: float) -> None:
        self._end = None if seconds is None else started + seconds

    @property
    def over(self) -> bool:
        return self._end is not None and time.perf_counter() >= self._end

    def more(self) -> bool:
        """Whether there is time left."""
        return not self.over
