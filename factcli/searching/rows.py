"""The rows that choose and those that report: never the same one, and both asked of the dense model once."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.retrieval import Collected
from ..data.tables import read_table
from ..data.tasks import Task
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
            exam, outputs = asked(small, self.source, self.target, part.data, file)
        lost = round(100 * (part.scores[part.metric] - exam.metrics(outputs)[part.metric]), 6)  # 3 points are not more
        return lost, scored(exam, outputs, part.metric)

    def reported(self, small: Model, file: RuntimeFile | None, seed: int) -> tuple[float, tuple[float, float]]:
        """The loss on the rows that nothing was chosen by, and its interval."""
        part = self.reporting
        lost, theirs = self.loss(small, part, file)
        return lost, interval(scored(part.exam, part.outputs, part.metric), theirs, len(part.data), seed)

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        part = self.choosing
        return {
            "metric": part.metric,
            "rows": {"choose": len(part.data), "report": len(self.reporting.data)},
            "dense": {"choose": part.scores[part.metric], "report": self.reporting.scores[part.metric]},
            "allowed": self.allowed,
        }


def judge(source: Model, target: Target, seed: int) -> Labelled:
    """The dense model's answers. Rows of one file, or of a task, are split in two by the seed.

    Raises FactcliError where they are too few to tell what is asked, or the dense model has nothing to lose.
    """
    data = data_of(task_of(source, target, target.how.validation), target.how, commit_of_data(target.how))
    assert not isinstance(data, Collected)
    if target.test is not None:
        how = target.how.but(validation=target.test)
        halves = [data, data_of(task_of(source, target, target.test), how, None)]
    else:
        order = np.random.default_rng(seed).permutation(len(data))
        halves = [data.select(part) for part in np.array_split(order, 2)]
    if min(map(len, halves)) < 2:
        raise FactcliError("--max-loss needs some hundred rows: those that choose are not those that report.")
    parts: list[Part] = []
    for half in halves:
        with said_before() if parts else nullcontext():
            exam, outputs = asked(source, source, target, half)
        parts.append(Part(half, exam, outputs))
    made = Labelled(source, target, *parts)
    _refuse(made)
    return made


def task_of(source: Model, target: Target, file: str | Path | None) -> Task:
    """What the dense model is measured on, of GLUE or of a file."""
    there = read_table(Path(file)).names if file is not None else ()
    how = target.how.but(validation=file)
    return task_for(source, find_purpose(source), how, read_trained(source.path), there)


def asked(
    model: Model, dense: Model, target: Target, data: "Dataset", file: RuntimeFile | None = None
) -> tuple[Questions, NDArray[Any]]:
    """What a model is asked of the rows, all that the dense one is, and its answers; those of its `file` where that is
    given."""
    task, purpose, trained = (
        task_of(dense, target, target.how.validation),
        find_purpose(dense),
        read_trained(dense.path),
    )
    if file is None:
        loaded = model.load()
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
    rows = len(made.reporting.data)
    if 100 / rows > made.allowed:
        raise FactcliError(
            f"--max-loss {made.target} cannot be told on {rows} rows, of which one is {100 / rows:.2f} points: give "
            "more rows, or allow more."
        )
    about = 196 * (2 * CHANGED / rows) ** 0.5  # both they and the rows that it is for are draws
    note(
        f"{len(made.choosing.data)} rows choose, {rows} others report; where 2 % of the answers change, these tell "
        f"what as many further rows would lose to {about:.1f} points, up or down."
    )
