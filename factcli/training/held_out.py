"""How near a student is to its teacher on texts that were held out."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..models.fit import WORDS, Features
from ..models.purpose import EMBEDDING, HIDDEN, answers, wanted
from ..scores.evaluating import BATCH_SIZE
from ..scores.prediction import Forward, predict
from .distillation import Teacher
from .job import Job


class HeldOut:
    """The held-out texts of a job, and what the teacher says of them: asked once, and kept where it is one answer a
    text."""

    def __init__(self, job: Job, teacher: Teacher, device: torch.device) -> None:
        assert job.purpose is not None
        self.job, self.teacher, self.purpose, self.device = job, teacher, job.purpose, device
        self._kept: dict[bytes, Tensor] = {}

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Means over the texts. Of vectors the `cosine`, and the correlation of the `similarity` of the texts to each
        other; of a number the `error` (root of the mean square); of classes and labels the `agreement` (share of the
        same answers; of a tagger over the tokens) and the `divergence` (in nats); of hidden states the relative
        `error`."""
        if self.purpose.kind == EMBEDDING:
            own, taught = self._vectors(model), self._taught_vectors
            cosine = float(F.cosine_similarity(own, taught).mean())
            return {"cosine": cosine, "similarity": _correlation(own, taught)}

        def forward(batch: dict[str, Tensor]) -> Tensor:
            own = answers(self.purpose, model(**batch, **wanted(self.purpose)), _mask(batch))
            return torch.stack(_apart(self.purpose.kind, own, self._taught(batch), _mask(batch).bool()), -1)

        means = self._predict(model, forward).mean(0, dtype=torch.float64).tolist()
        if self.purpose.kind in ("number", HIDDEN):
            return {"error": float(np.sqrt(means[0]))}
        return {"agreement": means[0], "divergence": means[1]}

    def _predict(self, model: PreTrainedModel, forward: Forward) -> Tensor:
        return torch.from_numpy(predict(model, self.job.fit, self._features, BATCH_SIZE, forward))

    @cached_property
    def _features(self) -> list[Features]:
        """Of whole texts: what counts of a tagger is all of its tokens, where there are words too."""
        return [{k: v for k, v in f.items() if k != WORDS} for f in self.job.validation_features]

    def _vectors(self, model: PreTrainedModel) -> Tensor:
        return self._predict(model, lambda batch: answers(self.purpose, model(**batch), _mask(batch)))

    @cached_property
    def _taught_vectors(self) -> Tensor:
        assert self.teacher.model is not None
        self.teacher.to(self.device)
        return self._predict(self.teacher.model, lambda batch: self.teacher(batch).logits)

    def _taught(self, batch: dict[str, Tensor]) -> Tensor:
        key = b"".join(batch[k].cpu().numpy().tobytes() for k in sorted(batch)) + str(batch["input_ids"].shape).encode()
        found = self._kept.get(key)
        if found is None:
            self.teacher.to(batch["input_ids"].device)
            found = self.teacher(batch).logits.float()
            if self.purpose.kind != HIDDEN:
                self._kept[key] = found.cpu()
        return found.to(batch["input_ids"].device)


def score(metrics: dict[str, float]) -> float:
    """Of what `HeldOut.measure` gives, by which of two states is the better one: higher is."""
    return metrics["cosine"] if "cosine" in metrics else -metrics.get("divergence", metrics.get("error", 0.0))


def _mask(batch: dict[str, Tensor]) -> Tensor:
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"]))


def _correlation(own: Tensor, taught: Tensor) -> float:
    """Pearson's, of the cosines of different texts among `own` vectors (n, k), and among those that are `taught`."""
    if len(own) < 3:
        return 1.0
    apart = torch.ones(len(own), len(own), dtype=torch.bool).triu(1)
    ours, theirs = (F.normalize(v.double(), dim=-1) for v in (own, taught))
    both = torch.stack([(ours @ ours.mT)[apart], (theirs @ theirs.mT)[apart]])
    return float(torch.corrcoef(both)[0, 1].nan_to_num(0.0))


def _apart(kind: str, own: Tensor, taught: Tensor, mask: Tensor) -> list[Tensor]:
    """What `measure` means over, each (B,)."""
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
