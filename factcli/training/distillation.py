"""Distillation: a teacher's logits, hidden states and attention as further targets of the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..data.encoding import encode
from ..data.labels import head_size, model_labels, outputs_of_classes, unnamed
from ..errors import FactcliError, UsageError
from ..models.fit import LENGTH, Fit, find_fit
from ..models.loading import bare_model, load_model
from ..models.model import Model, find_model
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, answers, decodes, find_purpose, wanted
from .job import Job
from .teacher_tokens import as_teacher, read_alike, renumbered

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


@dataclass(frozen=True)
class Weights:
    """What each part of the loss counts. `temperature` softens both sides' logits."""

    temperature: float = 2.0
    label: float = 1.0
    logits: float = 1.0
    hidden: float = 1.0
    attention: float = 0.0


class Teacher:
    """A frozen model in evaluation mode whose outputs stand in the order of the student's; None where they are read.
    `inputs` are what it takes of a batch; `tokens` its ids of the student's (None: the same). `purpose` is what is
    learnt of it alone, without labels."""

    def __init__(
        self,
        model: PreTrainedModel | None,
        order: Tensor | None,
        weights: Weights,
        inputs: frozenset[str] = INPUTS,
        tokens: Tensor | None = None,
        purpose: Purpose | None = None,
    ) -> None:
        self.model, self.order, self.weights, self.inputs, self.tokens = model, order, weights, inputs, tokens
        self.purpose = purpose

    def to(self, device: torch.device) -> None:
        """Move the model, if there is one."""
        if self.model is not None:
            torch.nn.Module.to(self.model, device)

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        """Its output for a batch, with logits (B, K), of a tagger (B, T, K), as the student orders them, hidden states
        where they count. Of what is learnt alone the logits are its `answers`."""
        assert self.model is not None
        given = {k: v for k, v in inputs.items() if k in self.inputs}
        if self.tokens is not None:
            given["input_ids"] = self.tokens.to(given["input_ids"].device)[given["input_ids"]]
        output = self.model(**given, **self.wanted)
        if self.purpose is not None:
            mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
            output.logits = answers(self.purpose, output, mask)
        if self.order is not None:
            output.logits = output.logits[..., self.order.to(output.logits.device)]
        return output

    @property
    def wanted(self) -> dict[str, bool]:
        """What else than logits a forward pass has to give, of teacher and student."""
        asked = {"output_hidden_states": self.weights.hidden, "output_attentions": self.weights.attention}
        own = {} if self.purpose is None else wanted(self.purpose)
        return own | {name: True for name, weight in asked.items() if weight}


def load_teacher(job: Job, name: str, weights: Weights) -> tuple[Model, Teacher]:
    """The teacher `name` (a directory or Hub id) for a job's task, in float32 on the CPU, and its source.

    Raises FactcliError where tokenizer, labels, their number or the sizes differ from what the job's model has.
    """
    if job.settings.text_to_text:
        raise UsageError("--teacher needs a classification or regression head: leave out --text-to-text.")
    source = find_model(name, None, job.trust_remote_code, accept_factorized=True)
    if job.purpose is None:
        _check_head(job, source, name)
    else:
        _check_purpose(job, job.purpose, source, name)
    fit, inputs, tokens = _fit(job, source, name)
    a, b = source.config.get_text_config(), job.source.config.get_text_config()
    if decodes(source.model_class) and (weights.hidden or weights.attention):
        raise FactcliError(
            f"The teacher {name} is an encoder and decoder, of which logits alone are learned: give --hidden-weight 0 "
            "and --attention-weight 0."
        )
    if weights.hidden and a.hidden_size != b.hidden_size:
        raise FactcliError(
            f"The teacher {name} has hidden states of {a.hidden_size} features, the student of {b.hidden_size}: give "
            "--hidden-weight 0."
        )
    if weights.attention and a.num_attention_heads != b.num_attention_heads:
        raise FactcliError(f"The teacher {name} has another number of attention heads: give --attention-weight 0.")
    order = _order_of_labels(job, source, name) if job.purpose is None else _order_alone(job, source, name)
    loaded = load_model(source, dtype=torch.float32)
    config = loaded.model.config.get_text_config()
    if fit.decoder or not fit.has(config.pad_token_id):
        (config.pad_token_id,) = as_teacher(tokens, [job.fit.pad_id])  # what the batches that it reads are padded with
    if weights.attention:
        loaded.model.set_attn_implementation("eager")
    loaded.model.train(False)
    return source, Teacher(
        loaded.model.requires_grad_(False), order, weights, inputs, tokens, _its_own(job.purpose, source)
    )


def _check_head(job: Job, source: Model, name: str) -> None:
    """Raises FactcliError for a teacher without the head that the task needs."""
    if not source.model_class.__name__.endswith(job.task.head):
        what = "tagging" if job.task.tagging else "classification"
        raise FactcliError(f"The teacher {name} has no {what} head: fine-tune it on {job.task.name} first.")
    students = head_size(job.source.config)
    if head_size(source.config) != students:
        raise FactcliError(
            f"The teacher {name} has a head for {head_size(source.config)} labels, the student for {students}: take "
            f"one that was trained on {job.task.name}."
        )


def _order_of_labels(job: Job, source: Model, name: str) -> Tensor | None:
    """The teacher's output for each of the student's, of a task with labels; None for a regression."""
    students = head_size(job.source.config)
    if job.task.regression:
        return None
    found = outputs_of_classes(job.task, source.config, f"The teacher {name}")
    found = list(range(students)) if found is None else found
    return torch.tensor([found[job.outputs.index(i)] for i in range(students)])


def _check_purpose(job: Job, purpose: Purpose, source: Model, name: str) -> None:
    """Raises FactcliError for a teacher that is for something else, or answers in another size."""
    own = find_purpose(source)
    if purpose.kind == HIDDEN:
        return
    if own.kind != purpose.kind:
        raise FactcliError(
            f"The teacher {name} {own}, while {job.source.name} {purpose}: take one that is for the same."
        )
    if purpose.kind == EMBEDDING:
        sizes = [_width(source, own), _width(job.source, purpose)]
        if sizes[0] != sizes[1]:
            raise FactcliError(
                f"The teacher {name} embeds in {sizes[0]} dimensions, {job.source.name} in {sizes[1]}: take a teacher "
                "with as many."
            )
        return
    students, teachers = model_labels(job.source.config), model_labels(source.config)
    if len(students) != len(teachers):
        raise FactcliError(
            f"The teacher {name} has {len(teachers)} outputs, {job.source.name} has {len(students)}: take one with as "
            "many."
        )
    if sorted(students) != sorted(teachers) and not (unnamed(students) or unnamed(teachers)):
        raise FactcliError(
            f"The teacher {name} answers with {', '.join(teachers[:5])}, {job.source.name} with "
            f"{', '.join(students[:5])}: take one with the same labels."
        )


def _order_alone(job: Job, source: Model, name: str) -> Tensor | None:
    """The same where there are no labels: by the names that both give to their outputs; None where they are in the same
    order, or have none."""
    if job.purpose is None or job.purpose.kind in (EMBEDDING, HIDDEN):
        return None
    students, teachers = model_labels(job.source.config), model_labels(source.config)
    if sorted(students) != sorted(teachers) or students == teachers:
        return None
    return torch.tensor([teachers.index(label) for label in students])


def _width(source: Model, purpose: Purpose) -> int:
    """The dimensions of an embedding model's vectors."""
    assert purpose.vectors is not None
    size: int = source.config.get_text_config().hidden_size
    return purpose.vectors.width(size)


def _its_own(purpose: Purpose | None, source: Model) -> Purpose | None:
    """What is learnt of the teacher, as it makes it: its own pooling may be another than the student's."""
    return find_purpose(source) if purpose is not None and purpose.kind == EMBEDDING else purpose


def _fit(job: Job, source: Model, name: str) -> tuple[Fit, frozenset[str], Tensor | None]:
    """Of the teacher, whose tokens, positions and padding must be those of the job's model, what it takes of a batch,
    and its ids of the tokens where these have others."""
    fit = find_fit(bare_model(source), source.tokenizer, f"The teacher {name}")
    longest = max((len(f["input_ids"]) for f in job.train), default=0)
    if fit.positions is not None and longest > fit.positions:
        raise FactcliError(
            f"The teacher {name} has {fit.positions} positions, the training data up to {longest} tokens: give "
            f"--max-length {fit.positions}."
        )
    sample = job.validation.select(range(min(len(job.validation), 32)))
    texts = encode(fit, sample, job.settings.max_length or LENGTH)
    fit.fill_empty(texts)
    own = job.validation_features[: len(texts)]
    student, teacher = job.tokenizer.get_vocab(), fit.tokenizer.get_vocab()
    tokens = renumbered(student, teacher)
    alike = all(read_alike(tokens, f["input_ids"], t["input_ids"]) for f, t in zip(own, texts, strict=True))
    if not alike or (tokens is None and student != teacher):
        raise FactcliError(f"The teacher {name} has another tokenizer than {job.source.name}: take one with the same.")
    fit.check_ids([as_teacher(tokens, f["input_ids"]) for f in job.train])
    if job.fit.side != fit.side:
        raise FactcliError(f"The teacher {name} wants padding on another side than {job.source.name}: take another.")
    for given, of_student in zip(texts, own, strict=True):
        types = given.get("token_type_ids")
        if len(given["input_ids"]) != len(of_student["input_ids"]):  # the student reads smaller pieces
            continue
        if types is not None and types != of_student.get("token_type_ids", [0] * len(types)):
            raise FactcliError(
                f"The teacher {name} reads the texts of a pair with other token types than {job.source.name}: take one "
                "whose tokenizer gives the same."
            )
    return fit, frozenset({"input_ids", *texts[0]} | ({"attention_mask"} if fit.masked else set())), tokens


def distillation_loss(
    student: Any,
    teacher: Any,
    mask: Tensor,
    weights: Weights,
    regression: bool,
    multi_label: bool = False,
    scored: Tensor | None = None,
) -> Tensor:
    """The loss of a batch, a scalar: the label loss and what the student lacks to the teacher.

    Args:
        student: Its output, with `loss`; logits (B, K), hidden states (layers + 1) x (B, T, d), attentions
            layers x (B, heads, T, T) where they count.
        teacher: The teacher's, likewise.
        mask: (B, T), 1 where there is a token.
        scored: (B, T), true where a tagger answers: its logits are (B, T, K). None for one answer an example.

    Model: logits as Hinton et al. 2015, section 2 (Kullback-Leibler divergence at a temperature, times its square;
    the squared difference for a regression; with any number of labels the cross-entropy of each label's sigmoid, the
    mean over labels, as the loss of the labels themselves); hidden states as Romero et al. 2015 and Sun et al. 2019,
    relative to the teacher's variance over features, so that no layer counts for its scale; attention as Wang et al.
    2020, the divergence of every head's distribution, over what dropout leaves of the student's.
    """
    total: Tensor = weights.label * student.loss
    if weights.logits:
        a, b = (o.logits if scored is None else o.logits[scored] for o in (student, teacher))
        apart = logit_loss(a, b, weights.temperature, regression, multi_label)
        total = total + weights.logits * (apart if scored is None else apart * share(scored))
    return total + inner_loss(student, teacher, mask, weights)


def inner_loss(student: Any, teacher: Any, mask: Tensor, weights: Weights) -> Tensor:
    """What of the loss of a batch is of hidden states and attention, a scalar; arguments as of `distillation_loss`."""
    total: Tensor = torch.zeros((), device=mask.device)
    if weights.hidden:
        pairs = matched(student.hidden_states, teacher.hidden_states)
        total = total + weights.hidden * torch.stack([hidden_loss(a, b, mask) for a, b in pairs]).mean()
    if weights.attention:
        pairs = matched(student.attentions, teacher.attentions)
        total = total + weights.attention * torch.stack([attention_loss(a, b, mask) for a, b in pairs]).mean()
    return total


def logit_loss(
    student: Tensor, teacher: Tensor, temperature: float, regression: bool, multi_label: bool = False
) -> Tensor:
    """Of logits (B, K), the mean over the batch."""
    student, teacher = student.float(), teacher.float()
    if regression:
        return F.mse_loss(student, teacher)
    if multi_label:
        return temperature**2 * F.binary_cross_entropy_with_logits(
            student / temperature, (teacher / temperature).sigmoid()
        )
    soft = F.log_softmax(teacher / temperature, -1)
    return temperature**2 * F.kl_div(
        F.log_softmax(student / temperature, -1), soft, reduction="batchmean", log_target=True
    )


def over_processes(values: Tensor) -> Tensor:
    """The mean over the processes that train together, without a gradient: by it a loss of each, of batches that hold
    different numbers of tokens, is on average that of the whole batch."""
    if not torch.distributed.is_initialized():
        return values
    whole = values.detach().clone()
    torch.distributed.all_reduce(whole)
    return whole / torch.distributed.get_world_size()


def share(there: Tensor) -> Tensor:
    """How much a mean over the tokens of this process (those that are `there`, (B, T)) counts beside the others'."""
    count = there.sum().float()
    return count / over_processes(count)


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared difference of hidden states (B, T, d) over the tokens, by the teacher's variance over features."""
    student, teacher, there = student.float(), teacher.float(), mask.float()
    # Padding is weighed with 0: to pick the tokens out would copy every layer of both, forward and backward.
    apart: Tensor = torch.linalg.vector_norm(student - teacher, dim=-1).square()
    tokens, spread = over_processes(torch.stack([there.sum(), (teacher.var(-1, unbiased=False) * there).sum()]))
    total: Tensor = (apart * there).sum()
    loss: Tensor = total / (tokens * student.shape[-1]) / (spread / tokens).clamp_min(1e-6)
    return loss


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Divergence of attention distributions (B, heads, T, T), the mean over heads and the tokens that attend."""
    student, teacher = (t.float().transpose(1, 2)[mask.bool()] for t in (student, teacher))
    kept = student > 0  # dropout has taken the others, or padding
    student, teacher = (torch.where(kept, t.clamp_min(1e-9), 0) for t in (student, teacher))
    student, teacher = (t / t.sum(-1, keepdim=True).clamp_min(1e-9) for t in (student, teacher))
    student = torch.where(kept, student, 1)
    return (torch.xlogy(teacher, teacher) - teacher * student.log()).sum(-1).mean()


def matched(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
    """Layers by index; where depths differ, each of the student's with the teacher's at the same share of the depth."""
    if len(student) == 1:
        return [(student[0], teacher[-1])]
    step = (len(teacher) - 1) / (len(student) - 1)
    return [(layer, teacher[round(i * step)]) for i, layer in enumerate(student)]
