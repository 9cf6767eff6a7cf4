"""Milliseconds of many models in groups, each in turns with the same baseline, and which rows no other beats."""

from collections.abc import Callable, Sequence
from itertools import compress
from statistics import median

from ..errors import FactcliError
from ..notes import note
from .apart import Failed, Runner, measure_apart
from .ratios import compare
from .timing import Cell, Schedule

LEAST_ROUNDS, MOST_ROUNDS = 5, 50
AT_ONCE = 6  # processes, beside the baseline's
Progress = Callable[[int, int, str], None]


class Clock:
    """Times runners in turns with a baseline, all of one cell."""

    def __init__(self, baseline: Runner, cell: tuple[int, int], seconds: float, threads: int | None) -> None:
        self.baseline, self.threads = baseline, threads
        self.cell: Cell = (*cell, "eager")
        self.schedule = Schedule(LEAST_ROUNDS, MOST_ROUNDS, seconds)
        self._of_baseline: list[float] = []

    def speedups(self, chosen: Sequence[Runner], progress: Progress | None = None) -> list[float | None]:
        """How many times as fast as the baseline each of them is: the median over rounds. AT_ONCE of them take turns
        with it. None for what cannot be timed, and a note says why; the others are timed again without it."""
        found: list[float | None] = []
        for start in range(0, len(chosen), AT_ONCE):
            if progress:
                progress(start, len(chosen), "timing")
            found += self._in_turns(chosen[start : start + AT_ONCE])
        return found

    def _in_turns(self, chosen: Sequence[Runner]) -> list[float | None]:
        try:
            first, *found = measure_apart([self.baseline, *chosen], [self.cell], self.schedule, self.threads)
        except FactcliError as error:
            lost = [isinstance(error, Failed) and one is error.runner for one in chosen]
            lost = lost if any(lost) else [True] * len(chosen)
            for one in compress(chosen, lost):
                note(f"{one.said} is not timed: {error}")
            others = [one for one, gone in zip(chosen, lost, strict=True) if not gone]
            again = iter(self._in_turns(others) if others else ())
            return [None if gone else next(again) for gone in lost]
        self._of_baseline.append(first["latency_ms"]["median"])
        return [float(compare(one, first, self.schedule.centre)["speedup"]) for one in found]

    @property
    def milliseconds(self) -> float | None:
        """Of the baseline: the median over all groups, so that what else the machine did meets all rows alike."""
        return median(self._of_baseline) if self._of_baseline else None


def optimal(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Of (cost, score) those that no other beats: none costs as little with a higher score, or less with as high a one.
    A cost that is not known (None) is never optimal."""

    def beaten(cost: float, score: float) -> bool:
        return any(c is not None and c <= cost and s >= score and (c < cost or s > score) for c, s in points)

    return [cost is not None and not beaten(cost, score) for cost, score in points]
