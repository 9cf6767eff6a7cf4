"""How like the dense model a smaller one is, where there are no labels: on texts that neither was calibrated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..calibration.data import CalibrationOptions, load_others
from ..data.encoding import encode
from ..data.tasks import PAIR, TEXT
from ..data.text_rows import Row
from ..errors import FactcliError
from ..measuring.likeness import Answers, alike, answered, compared_by, metric_of
from ..models.fit import Features, Fit, find_fit
from ..models.model import Model
from ..models.purpose import Purpose
from ..notes import note, said_before
from .interval import Scores, interval
from .judging import RuntimeFile

CPU = torch.device("cpu")
MOST, LEAST = 2000, 40  # texts that choose and report, together


@dataclass(frozen=True)
class Likeness:
    """By what they answer to texts, beside the dense model's answers to those that choose and those that report."""

    source: Model
    least: float
    purpose: Purpose
    fit: Fit
    choosing: Sequence[Features]
    reporting: Sequence[Features]
    dense: tuple[Answers, Answers]
    max_length: int | None = None
    device: torch.device = CPU

    @property
    def allowed(self) -> float:
        """Points of 100 of the likeness that may be lost."""
        return 100 * (1 - self.least)

    @property
    def metric(self) -> str:
        return metric_of(self.purpose)

    def lost(self, small: Model, file: RuntimeFile | None) -> float:
        """What lacks to a likeness of one, in points of 100, on the texts that choose."""
        return self._loss(self._like(small, file, 0), len(self.choosing))

    def reported(self, small: Model, file: RuntimeFile | None, seed: int) -> tuple[float, tuple[float, float]]:
        """The same on the texts that nothing was chosen by, and its interval."""
        like, count = self._like(small, file, 1), len(self.reporting)
        return self._loss(like, count), interval(lambda rows: 1.0, like, count, seed)

    def holds(self, rows: Sequence[Row]) -> list[bool]:
        """Whether a text is, as the model reads it, one of those that choose or report."""
        from datasets import Dataset  # slow to import

        limit = self.fit.limit(self.max_length, len(rows[0]) == 2).tokens
        there = {tuple(feature["input_ids"]) for feature in [*self.choosing, *self.reporting]}
        texts = {name: [row[i] for row in rows] for i, name in enumerate((TEXT, PAIR)[: len(rows[0])])}
        return [tuple(feature["input_ids"]) in there for feature in encode(self.fit, Dataset.from_dict(texts), limit)]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "metric": self.metric,
            "rows": {"choose": len(self.choosing), "report": len(self.reporting)},
            "dense": {"choose": 1.0, "report": 1.0},
            "allowed": self.allowed,
        }

    def _loss(self, like: Scores, count: int) -> float:
        return round(100 * (1 - like(np.arange(count))), 6)

    def _like(self, small: Model, file: RuntimeFile | None, part: int) -> Scores:
        """The likeness of a model or its file as a function of texts, by their indices."""
        features = (self.choosing, self.reporting)[part]
        with said_before():
            theirs = answered(small, self.fit, self.purpose, features, file, device=self.device)
        return alike(self.purpose.kind, self.dense[part], theirs)


def likeness(
    source: Model, least: float, options: CalibrationOptions, besides: Sequence[CalibrationOptions],
    device: torch.device = CPU, counted: bool = False,
) -> Likeness:  # fmt: skip
    """The dense model's answers to texts of `options`, none of which are drawn `besides`; half of them choose. It is
    said where tokens are `counted` in all of them.

    Raises FactcliError for a model whose answers are no vectors, numbers or choices, and for texts that are too few.
    """
    purpose = compared_by(source)
    loaded = source.load()
    fit = find_fit(loaded.model, source.tokenizer, source.name)
    features = load_others(options, besides, fit, source.config)
    if len(features) < LEAST:
        raise FactcliError(
            f"--min-similarity compares on texts that were not calibrated on, of which {options.data} has "
            f"{len(features)}, and {LEAST} are needed: give more texts, or fewer --calibration-samples."
        )
    halves = features[::2], features[1::2]
    dense = tuple(answered(source, fit, purpose, half, None, loaded.model, device) for half in halves)
    beside = ", but how often tokens occur is counted in all texts of the file" if counted else ""
    note(f"{len(halves[0])} texts choose, {len(halves[1])} others report; none of them is calibrated on{beside}.")
    return Likeness(source, least, purpose, fit, *halves, (dense[0], dense[1]), options.max_length, device)
