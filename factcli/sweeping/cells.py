"""The numbers of a report: runs by row and column, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from ..errors import UsageError
from .task import DONE, FAILED

# What a run's own training says that has no score: a failed run and not a mistake. What needs its model says so after
# the name of that one, and has not been trained.
DIVERGED = ("The training diverged", "Training diverges")
Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """The runs of one place in a table. `scores` are those of all that have one, `good` of those that did not fail."""

    seeds: tuple[str, ...]
    scores: tuple[float, ...]
    good: tuple[float, ...]
    failed: int
    errors: int
    planned: int

    @property
    def runs(self) -> int:
        """Those that have ended in a score, or in a training that diverged."""
        return self.planned - self.errors

    @property
    def mean(self) -> float | None:
        return mean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Of the sample."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def mean_successful(self) -> float | None:
        return mean(self.good) if self.good else None

    def to_json(self) -> dict[str, Any]:
        names = ("seeds", "scores", "mean", "deviation", "mean_successful", "failed", "errors")
        return {name: getattr(self, name) for name in names}


def cell_of(runs: Runs, score: str) -> Cell:
    """Of the runs that have ended. `score` is the way into a result, such as metrics.accuracy."""
    scores, good, seeds, failed, errors = [], [], [], 0, 0
    ended = [run for run in runs if run["state"] in (DONE, FAILED)]
    for run in ended:
        if run["state"] == FAILED:
            diverged = run.get("error", "").startswith(DIVERGED)
            failed, errors = failed + diverged, errors + (not diverged)
            continue
        value = number(run["result"], score, run["name"])
        seeds.append(seed_of(run))
        scores.append(value)
        if _failed(run["result"]):
            failed += 1
        else:
            good.append(value)
    return Cell(tuple(seeds), tuple(scores), tuple(good), failed, errors, len(ended))


def _failed(result: Mapping[str, Any]) -> bool:
    """As the last command says that knows."""
    before = reversed(list((result.get("before") or {}).values()))
    return bool(next((each["failed_run"] for each in (result, *before) if "failed_run" in each), False))


def seed_of(run: Mapping[str, Any]) -> str:
    """By its label, else as the result says."""
    return str(run["labels"].get("seed", (run["result"] or {}).get("seed", run["options"].get("seed", 0))))


def number(result: Any, way: str, name: str) -> float:
    """What a result has there; the mean over a list, whose numbers may be shares of others: layers.rank/full_rank.

    Raises UsageError where there is no number.
    """
    found = result
    *steps, last = way.split(".")
    try:
        for step in steps:
            found = found[step]
        if isinstance(found, list):
            top, _, below = last.partition("/")
            return float(mean(each[top] / (min(each[below]) if isinstance(each[below], list) else each[below]) if below
                              else each[top] for each in found))  # fmt: skip
        return float(found[last])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"The report's score {way!r} is no number in the result of {name}.") from error


def labels_of(runs: Runs, axis: str) -> list[str]:
    """In the order of the file."""
    return list(dict.fromkeys(run["labels"][axis] for run in runs if axis in run["labels"]))


def compact(seeds: Sequence[str]) -> str:
    """1, 2, 3, 5 -> 1-3, 5."""
    numbers = sorted({int(seed) for seed in seeds if seed.lstrip("-").isdecimal()})
    parts: list[list[int]] = []
    for each in numbers:
        if parts and each == parts[-1][-1] + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts)
