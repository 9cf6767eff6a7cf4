"""A teacher's outputs on disk: its forward passes over the training data are made once, not in every epoch and run."""

import hashlib
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..calibration.cache import fingerprint
from ..calibration.losses import Example
from ..data.encoding import batches
from ..errors import FactcliError, UsageError
from ..files.caches import LIMIT, find, keep, making
from ..models.fit import Features
from ..models.model import Model
from ..models.purpose import HIDDEN
from ..progress import steps
from .distillation import Teacher, Weights
from .job import Job

KIND = "teachers"
BATCH_SIZE = 32


class CachedTeacher(Teacher):
    """A teacher that reads what it once said. Logits are kept in float32 (one row an example, or `of_tokens`), hidden
    states in float16; examples are found by their tokens, so that neither their order nor the batches matter."""

    def __init__(self, weights: Weights, file: Any, of_tokens: bool = False) -> None:
        super().__init__(None, None, weights)
        self._file, self._of_tokens = file, of_tokens
        self._logits = file.get_tensor("logits")
        self._starts: list[int] = file.get_tensor("starts").tolist()
        self._rows = {bytes(key.tolist()): row for row, key in enumerate(file.get_tensor("keys"))}

    def __call__(self, inputs: Mapping[str, Tensor]) -> Any:
        """As Teacher's: logits (B, K) or (B, T, K) and, where they count, hidden states of (B, T, d), zero at the
        padding."""
        ids, mask, types = inputs["input_ids"], inputs["attention_mask"].bool(), inputs.get("token_type_ids")
        rows = [
            self._rows[_key(ids[i, there].tolist(), None if types is None else types[i, there].tolist())]
            for i, there in enumerate(mask)
        ]
        logits = (self._spread(self._logits, rows, mask) if self._of_tokens else self._logits[rows]).to(ids.device)
        if not self.weights.hidden:
            return SimpleNamespace(logits=logits)
        stored = self._file.get_slice("hidden")  # (tokens, layers + 1, d)
        hidden = self._spread(stored, rows, mask)
        return SimpleNamespace(logits=logits, hidden_states=hidden.to(ids.device).unbind(2))

    def _spread(self, stored: Any, rows: Sequence[int], mask: Tensor) -> Tensor:
        """What is stored by token, of these examples, (B, T, …)."""
        first = stored[:1]
        found = torch.zeros(*mask.shape, *first.shape[1:], dtype=first.dtype)
        for i, row in enumerate(rows):
            found[i, mask[i].cpu()] = stored[self._starts[row] : self._starts[row + 1]]
        return found


def cached(teacher: Teacher, source: Model, job: Job, device: torch.device) -> Teacher:
    """`teacher`, of `source`, with its outputs for the job's training data: from the cache, or from one pass now, which
    one of several processes makes for all. The teacher itself where they cannot be kept.

    Raises UsageError where attention counts, which is not kept, or padding cannot be told from text, and FactcliError
    where the outputs would take more than LIMIT bytes.
    """
    if teacher.weights.attention:
        raise UsageError("--teacher-cache keeps no attention: leave it out, or --attention-weight.")
    if job.purpose is not None and job.purpose.kind == HIDDEN:
        raise UsageError("--teacher-cache keeps answers, of which a model without a head gives none: leave it out.")
    if not job.fit.masked:
        raise UsageError(f"--teacher-cache is for models that know what is padding, unlike {job.source.name}.")
    examples = [Example(tuple(f["input_ids"]), _types(f), None) for f in job.train]
    order = None if teacher.order is None else teacher.order.tolist()
    settings: dict[str, Any] = {"order": order, "hidden": bool(teacher.weights.hidden)}
    settings |= {} if teacher.purpose is None else {"purpose": str(teacher.purpose)}
    settings |= {"tokens": teacher.tokens.tolist()} if teacher.tokens is not None else {}
    name = fingerprint(source, examples, (), settings)
    found = find(KIND, name)
    if found is None:
        with making(KIND, name) as kept:
            found = find(KIND, name)  # another process may have made it meanwhile
            if found is None and kept:
                found = keep(KIND, name, _outputs(teacher, job, device), {})
    return teacher if found is None else CachedTeacher(teacher.weights, found[0], _of_tokens(job))


@torch.no_grad()
def _outputs(teacher: Teacher, job: Job, device: torch.device) -> dict[str, Tensor]:
    assert teacher.model is not None
    features = list({_key(list(f["input_ids"]), _types(f)): f for f in job.train}.values())
    sizes = [len(f["input_ids"]) for f in features]
    config = teacher.model.config.get_text_config()
    layers = config.num_hidden_layers + 1 if teacher.weights.hidden else 0
    vectors = teacher.purpose.vectors if teacher.purpose is not None else None
    outputs = vectors.width(config.hidden_size) if vectors is not None else int(teacher.model.config.num_labels or 1)
    answers = sum(sizes) if _of_tokens(job) else len(features)
    needed = 2 * sum(sizes) * layers * config.hidden_size + 4 * answers * outputs
    if needed > LIMIT:
        raise FactcliError(
            f"The teacher's outputs would take {needed / 2**30:.0f} GiB: leave out --teacher-cache, or give "
            "--hidden-weight 0."
        )
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    tensors = {
        "keys": torch.tensor([list(_key(list(f["input_ids"]), _types(f))) for f in features], dtype=torch.uint8),
        "starts": torch.tensor(starts),
        "logits": torch.empty(answers, outputs),
    }
    if layers:
        tensors["hidden"] = torch.empty(sum(sizes), layers, config.hidden_size, dtype=torch.float16)
    teacher.to(device)
    for indices in steps(
        "asking the teacher", list(batches([job.fit.kind(f["input_ids"]) for f in features], BATCH_SIZE))
    ):
        batch = job.fit.batch([{k: v for k, v in features[i].items() if k != "labels"} for i in indices], device)
        output = teacher(batch)
        logits = output.logits.float().cpu()
        if _of_tokens(job):
            for row, i in enumerate(indices):
                tensors["logits"][starts[i] : starts[i + 1]] = logits[row]
        else:
            tensors["logits"][indices] = logits
        if layers:
            states = torch.stack(output.hidden_states, 2).cpu().half()
            for row, i in enumerate(indices):
                tensors["hidden"][starts[i] : starts[i + 1]] = states[row]
    return tensors


def _of_tokens(job: Job) -> bool:
    """Whether there is an answer for every token, not one for every example."""
    return job.task.tagging or (job.purpose is not None and job.purpose.kind == "token")


def _types(features: Features) -> tuple[int, ...] | None:
    return tuple(features["token_type_ids"]) if "token_type_ids" in features else None


def _key(ids: Sequence[int], types: Sequence[int] | None) -> bytes:
    return hashlib.blake2b(repr((list(ids), types and list(types))).encode(), digest_size=16).digest()
