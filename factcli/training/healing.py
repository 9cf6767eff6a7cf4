"""What a student lacks to its teacher where there are no labels: vectors, logits or hidden states."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ..models.purpose import EMBEDDING, HIDDEN, Purpose, answers
from .distillation import Weights, inner_loss, logit_loss, share


def healing_loss(purpose: Purpose, student: Any, teacher: Any, mask: Tensor, weights: Weights) -> Tensor:
    """The loss of a batch, a scalar. `student` is its output, `teacher` the teacher's, whose `logits` are its answers;
    `mask` (B, T) is 1 where there is a token.

    Vectors: one less their cosine (Reimers and Gurevych 2020 take the squared difference, which of normalized ones is
    twice that). What the similarities of the texts of a batch lack to the teacher's (Tung and Mori 2019) is not in it:
    measured, it took from cosine and similarities alike. Logits, hidden states
    and attention as in `distillation_loss`.
    """
    total = inner_loss(student, teacher, mask, weights)
    if purpose.kind == EMBEDDING:
        own, taught = answers(purpose, student, mask), teacher.logits.float()
        if weights.logits:
            total = total + weights.logits * (1 - F.cosine_similarity(own, taught)).mean()
    elif purpose.kind == "token" and weights.logits:
        own, taught = (logits[mask.bool()] for logits in (student.logits, teacher.logits))
        total = total + weights.logits * share(mask) * logit_loss(own, taught, weights.temperature, False)
    elif purpose.kind != HIDDEN and weights.logits:
        total = total + weights.logits * logit_loss(
            student.logits, teacher.logits, weights.temperature, purpose.kind == "number", purpose.kind == "labels"
        )
    return total
