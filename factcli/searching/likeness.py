"""How like the dense model a smaller one is, where there are no labels: on texts that neither was calibrated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..calibration.data import CalibrationOptions, load_others
from ..errors import FactcliError
from ..models.fit import Features, Fit, find_fit
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, decodes, find_purpose
from ..models.vectors import Vectors
from ..notes import note, said_before
from ..runtimes.running import open_file
from ..scores.evaluating import BATCH_SIZE
from ..scores.prediction import Forward, Run, predict
from .interval import Scores, interval
from .judging import RuntimeFile

MOST, LEAST = 2000, 40  # texts that choose and report, together
Answers = NDArray[Any]
_NAMES = {EMBEDDING: "cosine of vectors", HIDDEN: "cosine of mean-pooled hidden states", "number": "correlation",
          "labels": "share of texts with the same labels", "class": "share of the same answers"}  # fmt: skip
_TOKENS = ("token", "masked", "next")
NOTHING = -1  # the answer at what is no token


@dataclass(frozen=True)
class Likeness:
    """By what they answer to texts, beside the dense model's answers, which are (texts, k): vectors, one number, or
    what is chosen of a text or of each of its tokens (NOTHING where there is none)."""

    source: Model
    least: float
    purpose: Purpose
    fit: Fit
    choosing: Sequence[Features]
    reporting: Sequence[Features]
    dense: tuple[Answers, Answers]

    @property
    def allowed(self) -> float:
        """Points of 100 of the likeness that may be lost."""
        return 100 * (1 - self.least)

    @property
    def metric(self) -> str:
        return _NAMES.get(self.purpose.kind, "share of tokens with the same answer")

    def lost(self, small: Model, file: RuntimeFile | None) -> float:
        """What lacks to a likeness of one, in points of 100, on the texts that choose."""
        return self._loss(self._like(small, file, 0), len(self.choosing))

    def reported(self, small: Model, file: RuntimeFile | None, seed: int) -> tuple[float, tuple[float, float]]:
        """The same on the texts that nothing was chosen by, and its interval."""
        like, count = self._like(small, file, 1), len(self.reporting)
        return self._loss(like, count), interval(lambda rows: 1.0, like, count, seed)

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
            theirs = answered(small, self.fit, self.purpose, features, file)
        return alike(self.purpose.kind, self.dense[part], theirs)


def alike(kind: str, dense: Answers, small: Answers) -> Scores:
    """The likeness of answers (texts, k) to those of the dense model, over a choice of texts: a mean of cosines or of
    shares of the same answers, or Pearson's correlation of numbers."""
    if kind == "number":
        return lambda rows: _correlation(dense[rows, 0], small[rows, 0])
    if kind in (EMBEDDING, HIDDEN):
        lengths = np.linalg.norm(dense, axis=1) * np.linalg.norm(small, axis=1)
        each = (dense * small).sum(1) / np.maximum(lengths, 1e-12)
    elif kind == "labels":
        each = (dense == small).all(1)
    else:
        there = dense != NOTHING
        each = ((dense == small) & there).sum(1) / there.sum(1)
    return lambda rows: float(np.mean(each[rows]))


def _correlation(a: Answers, b: Answers) -> float:
    """Pearson's; 0 where either is the same for all."""
    if not np.ptp(a) > 0 or not np.ptp(b) > 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def likeness(
    source: Model, least: float, options: CalibrationOptions, besides: Sequence[CalibrationOptions]
) -> Likeness:
    """The dense model's answers to texts of `options`, none of which are drawn `besides`; half of them choose.

    Raises FactcliError for a model whose answers are no vectors, numbers or choices, and for texts that are too few.
    """
    purpose = find_purpose(source)
    if purpose.kind in ("text", "span") or decodes(source.model_class):
        raise FactcliError(
            f"{source.name} {purpose}: --min-similarity compares vectors, numbers, and choices of texts or tokens. "
            "Give --max-loss with labels, or --keep."
        )
    if purpose.kind == HIDDEN:
        purpose = Purpose(HIDDEN, Vectors(normalized=False))
    loaded = source.load(torch.float32)
    fit = find_fit(loaded.model, source.tokenizer, source.name)
    features = load_others(options, besides, fit, source.config)
    if len(features) < LEAST:
        raise FactcliError(
            f"--min-similarity compares on texts that were not calibrated on, of which {options.data} has "
            f"{len(features)}, and {LEAST} are needed: give more texts, or fewer --calibration-samples."
        )
    halves = features[::2], features[1::2]
    dense = tuple(answered(source, fit, purpose, half, None, loaded.model) for half in halves)
    note(f"{len(halves[0])} texts choose, {len(halves[1])} others report; none of them is calibrated on.")
    return Likeness(source, least, purpose, fit, *halves, (dense[0], dense[1]))


def answered(
    small: Model, fit: Fit, purpose: Purpose, features: Sequence[Features], file: RuntimeFile | None, model: Any = None
) -> Answers:
    """What a model (`model`, where it is loaded), or its file, answers to each text: (texts, k)."""
    longest = max(len(f["input_ids"]) for f in features)
    if file is None:
        loaded = model or small.load(torch.float32).model
        return predict(loaded, fit, features, BATCH_SIZE, _of_model(loaded, purpose, longest))
    return predict(None, fit, features, BATCH_SIZE, _of_file(open_file(*file).run, purpose, longest))


def _of_model(model: Any, purpose: Purpose, longest: int) -> Forward:
    vectors = purpose.vectors

    def forward(batch: dict[str, Tensor]) -> Tensor:
        if vectors is not None:
            return vectors(model.base_model(**batch).last_hidden_state.float(), _mask(batch))
        return _choice(purpose.kind, model(**batch).logits.float(), _mask(batch), longest)

    return forward


def _of_file(run: Run, purpose: Purpose, longest: int) -> Forward:
    def forward(batch: dict[str, Tensor]) -> Tensor:
        found = {k: torch.from_numpy(v) for k, v in run({k: t.numpy() for k, t in batch.items()}).items()}
        if purpose.vectors is not None:
            return purpose.vectors(found["last_hidden_state"].float(), _mask(batch))
        return _choice(purpose.kind, found["logits"].float(), _mask(batch), longest)

    return forward


def _choice(kind: str, logits: Tensor, mask: Tensor, longest: int) -> Tensor:
    """Of logits (B, K), of tokens (B, T, K): the choice, (B, 1) or (B, longest); the labels (B, K); or the number."""
    if kind == "number":
        return logits.reshape(len(logits), -1)[:, :1]
    if kind == "labels":
        return logits > 0
    if kind not in _TOKENS:
        return logits.argmax(-1, keepdim=True)
    chosen = torch.where(mask.bool(), logits.argmax(-1), NOTHING)
    return torch.nn.functional.pad(chosen, (0, longest - chosen.shape[1]), value=NOTHING)


def _mask(batch: dict[str, Tensor]) -> Tensor:
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
