"""Learning from a teacher alone, on texts without labels: what there is to learn, and whether the options allow it."""

from typing import TYPE_CHECKING

import numpy as np

from ..data.encoding import encode
from ..data.tasks import Task
from ..errors import UsageError
from ..models.fit import find_fit
from ..models.loading import bare_model
from ..models.model import Model
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, decodes, find_purpose
from ..notes import note
from ..recipe.training import Settings
from .job import Job, padding_token
from .schedules import schedules

if TYPE_CHECKING:
    from datasets import Dataset


def to_learn(source: Model) -> Purpose:
    """What a model can learn of its teacher. Raises UsageError for one that answers in words or with spans of text, or
    whose states are those of a decoder that has to be given something to read."""
    found = find_purpose(source)
    if found.kind == "text":
        raise UsageError(f"{source.name} {found}, which is not learnt without labels: give --validation and labels.")
    if found.kind == "span":
        raise UsageError(f"{source.name} {found}, which finetune does not teach: take a model with another head.")
    if decodes(source.model_class) and found.kind in (EMBEDDING, HIDDEN):
        raise UsageError(
            f"{source.name} is an encoder and decoder without a head, of which nothing is learnt without labels: take "
            "its encoder alone (such as T5EncoderModel), or give labels."
        )
    return Purpose(HIDDEN) if found.kind in ("masked", "next") else found


def check_settings(settings: Settings) -> None:
    """Raises UsageError for what does not go with learning from a teacher alone."""
    assert settings.teacher is not None  # without one, data without labels are refused before
    if settings.prune is not None:
        raise UsageError("--prune needs labels: give them, or leave it out.")
    if settings.schedule is not None and schedules[settings.schedule].mixes:
        raise UsageError(f"--schedule {settings.schedule} needs labels: take another, or leave it out.")


def prepare_unlabelled(source: Model, task: Task, settings: Settings, train: "Dataset", validation: "Dataset") -> Job:
    """A job without a plan, whose model keeps the head that it has, if any. Raises as `to_learn`, and FactcliError
    where model and texts do not fit together."""
    purpose = to_learn(source)
    if purpose.kind == HIDDEN and not (settings.hidden_weight or settings.attention_weight):
        raise UsageError(f"Of {source.name} hidden states alone can be learnt: leave --hidden-weight above 0.")
    fit = find_fit(bare_model(source), source.tokenizer, source.name)
    changes = padding_token(source, fit)
    tokenizer_changes = fit.teach_padding()
    limit = fit.limit(settings.max_length, task.pair)
    features, held_out = (encode(fit, data, limit.tokens) for data in (train, validation))
    for encoded in (features, held_out):
        fit.fill_empty(encoded)
        fit.check_ends(encoded, alike=encoded is features)
    limit.say([*features, *held_out])
    own = find_purpose(source)
    what = "that is" if own.kind == purpose.kind else "its hidden states, which its head reads as before, are"
    note(
        f"{source.name} {own}: {what} learnt from the teacher, on {len(features)} texts; {len(held_out)} others say "
        "how well."
    )
    return Job(
        source, task, settings.but(max_length=limit.tokens), fit, features, np.zeros(len(features)), train, validation,
        held_out, changes, [], tokenizer_changes=tokenizer_changes, purpose=purpose,
    )  # fmt: skip
