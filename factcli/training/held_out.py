"""How near a student is to its teacher on texts that were held out."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..models.purpose import EMBEDDING, HIDDEN, answers
from ..scores.evaluating import BATCH_SIZE
from ..scores.prediction import predict
from .distillation import Teacher
from .job import Job


class HeldOut:
    """The held-out texts of a job, and what the teacher says of them: asked once, and kept where it is one answer a
    text."""

    def __init__(self, job: Job, teacher: Teacher) -> None:
        assert job.purpose is not None
        self.job, self.teacher, self.purpose = job, teacher, job.purpose
        self._kept: dict[bytes, Tensor] = {}

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Means over the texts. Of vectors the `cosine`; of a number the `error` (root of the mean square); of classes
        and labels the `agreement` (share of the same answers; of a tagger over the tokens) and the `divergence` (in
        nats); of hidden states the relative `error`."""

        def forward(batch: dict[str, Tensor]) -> Tensor:
            mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
            own = answers(self.purpose, model(**batch), mask)
            return torch.stack(_apart(self.purpose.kind, own, self._taught(batch), mask.bool()), -1)

        rows = predict(model, self.job.fit, self.job.validation_features, BATCH_SIZE, forward)
        means = rows.mean(0, dtype=np.float64)
        if self.purpose.kind == EMBEDDING:
            return {"cosine": float(means[0])}
        if self.purpose.kind in ("number", HIDDEN):
            return {"error": float(np.sqrt(means[0]))}
        return {"agreement": float(means[0]), "divergence": float(means[1])}

    def score(self, metrics: dict[str, float]) -> float:
        """By which of two states is the better one: higher is."""
        return metrics["cosine"] if "cosine" in metrics else -metrics.get("divergence", metrics.get("error", 0.0))

    def _taught(self, batch: dict[str, Tensor]) -> Tensor:
        key = b"".join(batch[k].cpu().numpy().tobytes() for k in sorted(batch)) + str(batch["input_ids"].shape).encode()
        found = self._kept.get(key)
        if found is None:
            self.teacher.to(batch["input_ids"].device)
            found = self.teacher(batch).logits.float()
            if self.purpose.kind != HIDDEN:
                self._kept[key] = found.cpu()
        return found.to(batch["input_ids"].device)


def _apart(kind: str, own: Tensor, taught: Tensor, mask: Tensor) -> list[Tensor]:
    """What `measure` means over, each (B,)."""
    if kind == EMBEDDING:
        return [F.cosine_similarity(own, taught)]
    if kind == "number":
        return [(own - taught).square().mean(-1)]
    if kind == HIDDEN:
        spread = (taught.square().sum(-1) * mask).sum(1).clamp_min(1e-12)
        return [((own - taught).square().sum(-1) * mask).sum(1) / spread]
    if kind == "labels":
        same = ((own > 0) == (taught > 0)).float().mean(-1)
        p = taught.sigmoid()
        entropy = F.binary_cross_entropy(p, p, reduction="none")
        return [same, (F.binary_cross_entropy_with_logits(own, p, reduction="none") - entropy).mean(-1)]
    same = (own.argmax(-1) == taught.argmax(-1)).float()
    apart = (taught.softmax(-1) * (taught.log_softmax(-1) - own.log_softmax(-1))).sum(-1)
    return [_over_tokens(v, mask) if kind == "token" else v for v in (same, apart)]


def _over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T) -> (B,), the mean over the tokens of each text."""
    return (values * mask).sum(1) / mask.sum(1)
