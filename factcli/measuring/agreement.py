"""Without labels: how far a model's answers to texts are those of the dense model that it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibration.data import CalibrationOptions, load_examples
from ..data.tables import read_table
from ..errors import FactcliError
from ..models.fit import Features, Fit, find_fit
from ..models.model import Model
from ..models.purpose import find_purpose
from ..models.trained import read_trained
from ..recipe.running import Data
from ..runtimes.running import open_file
from ..scores.embedding import Embedder, embedder_of, embeds
from ..scores.prediction import of_file, predict

_BATCH = 32
_METRICS = {"class": "agreement", "labels": "agreement", "number": "correlation"}


@dataclass(frozen=True)
class Reference:
    """The answers of a dense model to texts: logits (texts, labels), or vectors (texts, k) where there is an
    `embedder`. `metric` is the name of what others are held to: the mean `cosine` of vectors, the `agreement` of
    classes and labels (share of the same answers), the `correlation` of a number (Pearson's)."""

    kind: str
    metric: str
    fit: Fit
    features: Sequence[Features]
    embedder: Embedder | None
    answers: NDArray[Any]

    def score(self, model: Model, file: tuple[str, Path] | None = None) -> float:
        """Of a model, or of its `file` for a backend: from 0 to 1, where 1 is the dense model itself."""
        return compare(self.kind, self.answers, _answers(model, self.fit, self.features, self.embedder, file))


def reference(source: Model, texts: Path) -> Reference:
    """What a model answers to the texts of a file (one column of them, or two). Raises FactcliError for a model whose
    answers are no class, label, number or vector of a text."""
    purpose, trained = find_purpose(source), read_trained(source.path)
    embedder = None
    if embeds(source, purpose):
        kind, metric = "vectors", "cosine"
        embedder = embedder_of(source, purpose, trained, Data(), source.outline.model)
        table = read_table(texts)
        fit, features = embedder.fit, embedder.features([str(text) for text in table.values(table.names[0])])
    elif purpose.kind in _METRICS:
        kind, metric = purpose.kind, _METRICS[purpose.kind]
        fit = find_fit(source.outline.model, source.tokenizer, source.name)
        asked = CalibrationOptions(str(texts), samples=10**6, max_length=trained.max_length)
        features = [
            {"input_ids": list(e.ids)} | ({"token_type_ids": list(e.types)} if e.types is not None else {})
            for e in load_examples(asked, fit, source.config, labelled=False)
        ]
    else:
        raise FactcliError(
            f"{source.name} {purpose}, which is not compared without labels: give --task or --validation."
        )
    return Reference(kind, metric, fit, features, embedder, _answers(source, fit, features, embedder, None))


def _answers(
    model: Model, fit: Fit, features: Sequence[Features], embedder: Embedder | None, file: tuple[str, Path] | None
) -> NDArray[Any]:
    run = None if file is None else open_file(*file).run
    loaded = model.load().model if run is None else None
    if embedder is not None:
        forward = embedder.of_file(run) if run is not None else embedder.hidden(loaded)  # type: ignore[arg-type]
        found: NDArray[Any] = embedder.encode(features, forward, loaded).numpy()
        return found
    return predict(loaded, fit, features, _BATCH, None if run is None else of_file(run))


def compare(kind: str, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """How far two arrays of answers of a `kind` are the same."""
    if kind == "vectors":
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        return float(np.mean((a * b).sum(-1) / np.where(lengths == 0, 1, lengths)))
    if kind == "number":
        if np.array_equal(ours, theirs):
            return 1.0
        with np.errstate(invalid="ignore", divide="ignore"):  # what does not vary has no correlation
            return float(np.nan_to_num(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]))
    if kind == "labels":
        return float(((ours > 0) == (theirs > 0)).mean())
    return float((ours.argmax(-1) == theirs.argmax(-1)).mean())
