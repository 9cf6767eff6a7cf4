"""Without labels: the dense model's answers to the texts of a file, which others are held to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..calibration.data import CalibrationOptions, load_examples
from ..models.fit import Features, Fit, find_fit
from ..models.model import Model
from ..models.purpose import Purpose
from ..models.trained import read_trained
from .likeness import Answers, alike, answered, compared_by, metric_of

ALL = 10**6  # rows of a file


@dataclass(frozen=True)
class Reference:
    """The answers of a dense model to texts."""

    purpose: Purpose
    fit: Fit
    features: Sequence[Features]
    answers: Answers

    @property
    def metric(self) -> str:
        """What the likeness is called."""
        return metric_of(self.purpose)

    def score(self, model: Model, file: tuple[str, Path] | None = None) -> float:
        """Of a model, or of its `file` for a backend: at most 1, which is the dense model itself."""
        theirs = answered(model, self.fit, self.purpose, self.features, file)
        return alike(self.purpose.kind, self.answers, theirs)(np.arange(len(self.features)))


def reference(source: Model, texts: Path) -> Reference:
    """What a model answers to the texts of a file (one column of them, or two). Raises FactcliError as `compared_by`
    and `load_examples`."""
    purpose = compared_by(source)
    fit = find_fit(source.outline.model, source.tokenizer, source.name)
    asked = CalibrationOptions(str(texts), samples=ALL, max_length=read_trained(source.path).max_length)
    features = [
        {"input_ids": list(e.ids)} | ({"token_type_ids": list(e.types)} if e.types is not None else {})
        for e in load_examples(asked, fit, source.config, labelled=False)
    ]
    return Reference(purpose, fit, features, answered(source, fit, purpose, features, None))
