"""The gate: a file that is written is run beside the model, on rows that it was not calibrated on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ..data.encoding import batches
from ..errors import FactcliError
from ..models.fit import Features, Fit
from ..recipe.running import Exporting
from ..scores.exams import Questions
from ..scores.prediction import at_rest
from .formats import Batch, Session
from .gate import Answers, agreement, difference
from .graph import Graph

TOLERANCE = 1e-4  # of the largest output: what float32 may be off, computed in another order
MOST = 1e-2  # of the largest output: what it may be off where the model's own rounding is no less
_BATCH = 32
_SEED = 0


@dataclass(frozen=True)
class Checked:
    """How a file compares with the model: the largest difference of any output; the share of the same predictions; the
    file's score in the task's metric, and what it loses in points. None where there were no texts, or no labels."""

    max_difference: float
    agreement: float | None = None
    metric: dict[str, float] | None = None
    loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Check:
    """What files are held to. `exam` has labelled rows; else `texts` are rows without labels; else random tokens are
    all that there is."""

    def __init__(self, graph: Graph, exam: Questions | None, texts: Sequence[Features], fit: Fit) -> None:
        self.graph, self.exam, self.fit = graph, exam, fit
        self.probe = list(probes(graph, fit))
        self.expected = [read(batch, graph.run(batch)) for batch in self.probe]
        self.batches = [] if exam is not None else list(rows_of(graph, fit, texts))
        self.answers = [graph.run(batch) for batch in self.batches]
        if exam is not None:
            with at_rest(graph.model, fit):
                self.outputs = exam.outputs(graph.model)
            self.metrics = exam.metrics(self.outputs)

    def equal(self, session: Session, file: str) -> None:
        """Raises FactcliError for a float32 file that is not the model, from 1 x 1 on, padded on either side."""
        apart, largest = difference(self.expected, [read(batch, session.run(batch)) for batch in self.probe])
        if apart <= TOLERANCE * largest:
            return
        if not apart <= min(MOST * largest, 4 * self._rounding()):
            raise FactcliError(
                f"{file} is not the model: its answers are up to {apart:.2g} apart, of {largest:.3g} at most. Please "
                "report it with the model's name."
            )

    def _rounding(self) -> float:
        """How far the model in float32 is from itself in float64, which is much where attention is not scaled (T5)."""
        try:
            torch.nn.Module.to(self.graph.model, torch.float64)
            return difference([read(batch, self.graph.run(batch)) for batch in self.probe], self.expected)[0]
        except RuntimeError:  # it insists on float32
            return 0.0
        finally:
            torch.nn.Module.to(self.graph.model, torch.float32)

    def of(self, session: Session) -> Checked:
        """How a file compares."""
        if self.exam is None:
            ours, asked = (self.answers, self.batches) if self.batches else (self.expected, self.probe)
            found = [read(batch, session.run(batch)) for batch in asked]
            return Checked(difference(ours, found)[0], agreement(ours, found) if self.batches else None)
        outputs = self.exam.outputs(None, self.exam.of_file(session.run))
        rows = len(outputs)  # similarities are a number a pair
        pair: tuple[list[Answers], list[Answers]] = (
            [{"logits": self.outputs.reshape(rows, -1)}], [{"logits": outputs.reshape(rows, -1)}]
        )  # fmt: skip
        metrics = self.exam.metrics(outputs)
        name = next(iter(metrics))
        return Checked(
            difference(*pair)[0], agreement(*pair, self.exam.task.multi_label), metrics,
            round(100 * (self.metrics[name] - metrics[name]), 4),
        )  # fmt: skip


def read(batch: Batch, answers: Answers) -> Answers:
    """What is read of answers: nothing at padding, where each runtime has numbers of its own."""
    mask = batch.get("attention_mask")
    if mask is None or mask.all():
        return answers
    found = {}
    for name, value in answers.items():
        of_tokens = value.shape[:2] == mask.shape and (value.ndim == 3 or name in ("start_logits", "end_logits"))
        found[name] = np.where(mask[..., None] if value.ndim == 3 else mask, value, 0) if of_tokens else value
    return found


def hold(checked: Checked, how: Exporting, file: str) -> None:
    """Raises FactcliError where a file loses more than it may."""
    if how.max_loss is not None and checked.loss is not None and not checked.loss <= how.max_loss:
        assert checked.metric is not None
        scores = ", ".join(f"{name} {value:.4f}" for name, value in checked.metric.items())
        raise FactcliError(
            f"{file} loses {checked.loss:.2f} points ({scores}), --max-loss is {how.max_loss:g}: it is not kept. Take "
            "another --precision or --format, or a higher --max-loss."
        )
    if how.min_agreement is not None and checked.agreement is not None and not checked.agreement >= how.min_agreement:
        raise FactcliError(
            f"{file} agrees with the model in {checked.agreement:.4f}, --min-agreement is {how.min_agreement:g}: it is "
            "not kept. Take another --precision or --format, or a lower --min-agreement."
        )


def rows_of(graph: Graph, fit: Fit, features: Sequence[Features], size: int = _BATCH) -> Sequence[Batch]:
    """Rows as batches of one length each."""
    kinds = [fit.kind(f["input_ids"]) for f in features]
    return [graph.given(fit.batch([features[i] for i in some])) for some in batches(kinds, size)]


def probes(graph: Graph, fit: Fit) -> Sequence[Batch]:
    """Random tokens of sizes that a graph could be wrong at."""
    rows = fit.rows or len(fit.tokenizer)
    longest = min(fit.positions or 512, 512)
    numbers = np.random.default_rng(_SEED)
    found = []
    for count, length in ((1, 1), (3, min(17, longest)), (2, longest)):
        ids = numbers.integers(0, rows, (count, length))
        if fit.end is not None:
            ids[ids == fit.end] = 0
            ids[:, -1] = fit.end
        mask = np.ones_like(ids)
        if count == 3 and length > 4 and fit.end is None:
            mask[0, :3] = 0
            if not fit.decoder:
                mask[1, -2:] = 0
        found.append(graph.given({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}))
    return found
