"""The rows that choose and those that report: never the same one, and both asked of the dense model once."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.retrieval import Collected
from ..data.tables import read_table
from ..data.tasks import Task
from ..data.text_rows import Row, rows_of
from ..errors import FactcliError
from ..models.model import Model
from ..models.purpose import find_purpose
from ..models.trained import read_trained
from ..notes import note, said_before
from ..runtimes.running import open_file
from ..scores.exams import Questions, asked_of, commit_of_data, data_of, task_for
from .goal import Target
from .interval import Scores, interval, scored
from .judging import RuntimeFile

if TYPE_CHECKING:
    from datasets import Dataset

CPU = torch.device("cpu")
CHANGED = 0.02  # share of answers that a small model is taken to change, for what can be told before it is there


@dataclass(frozen=True)
class Part:
    """Some rows, and what the dense model answers to them."""

    data: "Dataset"
    exam: Questions
    outputs: NDArray[Any]

    @property
    def metric(self) -> str:
        """The one that counts: the first of the task's."""
        return next(iter(self.scores))

    @property
    def scores(self) -> dict[str, float]:
        return self.exam.metrics(self.outputs)


@dataclass(frozen=True)
class Labelled:
    """By what they score on rows with labels."""

    source: Model
    target: Target
    choosing: Part
    reporting: Part
    device: torch.device = CPU

    @property
    def allowed(self) -> float:
        """Points of 100 that may be lost."""
        return self.target.points(self.choosing.scores[self.choosing.metric])

    def lost(self, small: Model, file: RuntimeFile | None) -> float:
        """Points lost on the rows that choose, by a model or its file for a runtime."""
        return self.loss(small, self.choosing, file)[0]

    def loss(self, small: Model, part: Part, file: RuntimeFile | None = None) -> tuple[float, Scores]:
        """Points lost on a part, by a model or its file for a runtime; and the small one's scores of rows."""
        with said_before():
            exam, outputs = asked(small, self.source, self.target, part.data, file, self.device)
        lost = round(100 * (part.scores[part.metric] - exam.metrics(outputs)[part.metric]), 6)  # 3 points are not more
        return lost, scored(exam, outputs, part.metric)

    def reported(self, small: Model, file: RuntimeFile | None, seed: int) -> tuple[float, tuple[float, float]]:
        """The loss on the rows that nothing was chosen by, and its interval."""
        part = self.reporting
        lost, theirs = self.loss(small, part, file)
        return lost, interval(scored(part.exam, part.outputs, part.metric), theirs, len(part.data), seed)

    def holds(self, rows: Sequence[Row]) -> list[bool]:
        """Whether a row is one of those that choose or report, or a text that is one of such a pair."""
        held = [row for part in (self.choosing, self.reporting) for row in rows_of(part.data)]
        there = {*held, *((text,) for row in held if len(row) == 2 for text in row)}
        return [row in there for row in rows]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        part = self.choosing
        return {
            "metric": part.metric,
            "rows": {"choose": len(part.data), "report": len(self.reporting.data)},
            "dense": {"choose": part.scores[part.metric], "report": self.reporting.scores[part.metric]},
            "allowed": self.allowed,
        }


def judge(source: Model, target: Target, seed: int, device: torch.device = CPU) -> Labelled:
    """The dense model's answers. Rows of one file, or of a task, are split in two by the seed, those with the same
    texts together; of a file that reports those are left out that choose as well.

    Raises FactcliError where they are too few to tell what is asked, or the dense model has nothing to lose.
    """
    data = data_of(task_of(source, target, target.how.validation), target.how, commit_of_data(target.how))
    assert not isinstance(data, Collected)
    if target.test is not None:
        how = target.how.but(validation=target.test)
        others = data_of(task_of(source, target, target.test), how, None)
        assert not isinstance(others, Collected)
        halves = [data, _others(others, data, target.test)]
    else:
        halves = [data.select(part) for part in _split(rows_of(data), seed)]
    if min(map(len, halves)) < 2:
        raise FactcliError("--max-loss needs some hundred rows: those that choose are not those that report.")
    parts: list[Part] = []
    for half in halves:
        with said_before() if parts else nullcontext():
            exam, outputs = asked(source, source, target, half, None, device)
        parts.append(Part(half, exam, outputs))
    made = Labelled(source, target, parts[0], parts[1], device)
    _refuse(made)
    return made


def _split(rows: Sequence[Row], seed: int) -> tuple[list[int], list[int]]:
    """The indices of about half of the rows, and those of the others: a draw, in which equal rows stay together."""
    alike: dict[Row, list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault(row, []).append(index)
    groups, parts = list(alike.values()), (list[int](), list[int]())
    for place in np.random.default_rng(seed).permutation(len(groups)):
        parts[len(parts[0]) >= (len(rows) + 1) // 2].extend(groups[place])
    return parts


def _others(data: "Dataset", chosen: "Dataset", file: str | Path) -> "Dataset":
    """The rows of a file that do not choose; how many do is said."""
    choosing = set(rows_of(chosen))
    new = [index for index, row in enumerate(rows_of(data)) if row not in choosing]
    if len(new) < len(data):
        note(f"{len(data) - len(new)} rows of {file} are among those that choose, and do not report.")
    return data.select(new)


def task_of(source: Model, target: Target, file: str | Path | None) -> Task:
    """What the dense model is measured on, of GLUE or of a file."""
    there = read_table(Path(file)).names if file is not None else ()
    how = target.how.but(validation=file)
    return task_for(source, find_purpose(source), how, read_trained(source.path), there)


def asked(
    model: Model, dense: Model, target: Target, data: "Dataset", file: RuntimeFile | None = None,
    device: torch.device = CPU,
) -> tuple[Questions, NDArray[Any]]:  # fmt: skip
    """What a model is asked of the rows, all that the dense one is, and its answers; those of its `file` where that is
    given, and runs on the CPU."""
    task, purpose, trained = (
        task_of(dense, target, target.how.validation),
        find_purpose(dense),
        read_trained(dense.path),
    )
    if file is None:
        loaded = model.load()
        torch.nn.Module.to(loaded.model, device)
        exam = asked_of(model, purpose, task, data, trained, target.how, loaded.model, sorted(loaded.absent))
        return exam, exam.outputs(loaded.model)
    exam = asked_of(model, purpose, task, data, trained, target.how, model.outline.model, ())
    session = open_file(*file)
    return exam, exam.outputs(None, exam.of_file(session.run))


def _refuse(made: Labelled) -> None:
    for part in (made.choosing, made.reporting):
        scored(part.exam, part.outputs, part.metric)
        if part.exam.failed(part.scores):
            raise FactcliError(
                f"{made.source.name} is no better than always answering the commonest label: there is nothing to lose. "
                "Fine-tune it on the task first."
            )
    choose, rows = len(made.choosing.data), len(made.reporting.data)
    fewest = min(choose, rows)
    if 100 / fewest > made.allowed:
        raise FactcliError(
            f"--max-loss {made.target} cannot be told on {fewest} rows, of which one is {100 / fewest:.2f} points "
            f"({choose} choose, {rows} report): give more rows, or allow more."
        )
    about = 196 * (2 * CHANGED / rows) ** 0.5  # both they and the rows that it is for are draws
    note(
        f"{choose} rows choose, {rows} others report; where 2 % of the answers change, these tell "
        f"what as many further rows would lose to {about:.1f} points, up or down."
    )
