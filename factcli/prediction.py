"""From texts to predictions: encoding, and forward passes in a fixed order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .data.tasks import LABEL, PAIR, TEXT, Task
from .errors import FactcliError
from .models.fit import Features, Fit
from .models.own_code import own_tokenizer
from .notes import note
from .source import Source

if TYPE_CHECKING:
    from datasets import Dataset


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The tokenizer of a source; code of its own is run where it is trusted. Raises FactcliError where it has none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.path,
            config=source.config,
            local_files_only=not source.trusted,  # its code may be in another repository
            trust_remote_code=source.trusted,
        )
    except Exception as error:  # tokenizers fail in as many ways as there are kinds of them
        if "trust_remote_code" in str(error):
            raise FactcliError(
                f"{source.name} has a tokenizer with code of its own: read it, then give --trust-remote-code to run it."
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(
            f"{source.name} has no tokenizer that can be read: put tokenizer.json and its like beside the model "
            f"({reason})."
        ) from error
    own = [] if source.trusted else own_tokenizer(source.path)
    if own:
        note(
            f"{source.name} has a tokenizer with code of its own ({own[0].file}), which is not run without "
            f"--trust-remote-code: {type(tokenizer).__name__} stands in for it."
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise FactcliError(f"{source.name} has no tokenizer: put tokenizer.json and its like beside the model.")
    found: PreTrainedTokenizerBase = tokenizer
    return found


@dataclass(frozen=True)
class Prompt:
    """What the input of a text-to-text model begins with, and what its texts are called in it."""

    name: str
    columns: tuple[str, ...]

    @classmethod
    def of(cls, task: Task) -> "Prompt":
        """As T5 was taught GLUE: "mrpc sentence1: … sentence2: …" (Raffel et al. 2020, appendix D)."""
        return cls(task.folder or task.name, task.columns)

    def inputs(self, data: "Dataset") -> list[str]:
        """The whole inputs."""
        texts = [list(data[name]) for name in (TEXT, PAIR)[: len(self.columns)]]
        return [
            " ".join([self.name, *(f"{c}: {t}" for c, t in zip(self.columns, row, strict=True))])
            for row in zip(*texts, strict=True)
        ]


def encode(fit: Fit, data: "Dataset", max_length: int, prompt: Prompt | None = None) -> list[Features]:
    """One entry an example, cut at `max_length` tokens, not padded: what the model takes, of a text (or a pair), or
    with a `prompt` of the input of a text-to-text model.

    Raises FactcliError for tokens that the model does not have.
    """
    first = prompt.inputs(data) if prompt is not None else list(data[TEXT])
    second = list(data[PAIR]) if prompt is None and PAIR in data.column_names else None
    return fit.features(fit.tokenizer(first, second, truncation=True, max_length=max_length), len(first))


def encode_answers(fit: Fit, labels: Sequence[str], max_length: int) -> list[list[int]]:
    """The tokens of the labels' words, as a text-to-text model answers. Raises FactcliError as `encode`."""
    words: list[list[int]] = fit.tokenizer(text_target=list(labels), truncation=True, max_length=max_length)[
        "input_ids"
    ]
    fit.check_ids(words)
    for label, ids in zip(labels, words, strict=True):
        if not ids:
            raise FactcliError(
                f"The tokenizer of {fit.name} gives no token for the label {label!r}: name it otherwise."
            )
    return words


def labels_of(data: "Dataset") -> NDArray[Any]:
    """The labels (examples,): int64 classes or float64 numbers; or (examples, labels), 0 or 1 of int64."""
    labels = np.asarray(list(data[LABEL]))
    return labels.astype(np.int64) if labels.ndim == 2 else labels


def batches(sizes: Sequence[Any], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches, of examples of the same size each, the largest first. Nothing is padded then: whatever a
    model makes of padding, its answer is the one that it gives to a text alone."""
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    for _, group in groupby(order, key=lambda i: sizes[i]):
        alike = list(group)
        yield from (alike[i : i + batch_size] for i in range(0, len(alike), batch_size))


def batches_within(tokens: int, lengths: Sequence[int], kinds: Sequence[Any]) -> Iterator[list[int]]:
    """Indices of batches of one kind each, longest first, with as many in a batch as `tokens` hold with padding, and at
    least one."""
    groups: dict[Any, list[int]] = {}
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        groups.setdefault(kinds[i], []).append(i)
    for group in groups.values():
        while group:
            size = max(1, tokens // max(1, lengths[group[0]]))
            yield group[:size]
            group = group[size:]


Forward = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def predict(
    model: PreTrainedModel,
    fit: Fit,
    features: Sequence[Features],
    batch_size: int,
    forward: Forward | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Outputs of shape (examples, labels), float32, in the order of `features`; the model is left in its mode.

    `forward` maps a batch to outputs (batch, labels); by default it is the model's logits. Up to rounding an output
    depends neither on the batch size nor on the other examples.

    Raises FactcliError where the model fails on a batch.
    """
    align(model)
    device = next(model.parameters()).device
    run = forward or (lambda batch: model(**batch).logits)
    rows: dict[int, NDArray[Any]] = {}
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode(), fit.unpadded(model):
            for indices in batches([fit.kind(f["input_ids"]) for f in features], batch_size):
                batch = fit.batch([{k: v for k, v in features[i].items() if k != "labels"} for i in indices], device)
                outputs = _answers(run, batch, fit.name)
                rows.update(zip(indices, outputs, strict=True))
                if progress:
                    progress(len(rows), len(features))
    finally:
        model.train(training)
    return np.stack([rows[i] for i in range(len(features))])


def align(model: PreTrainedModel) -> None:
    """Put weights that a file is mapped to where torch would put them, in place: kernels round otherwise by it."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def _answers(run: Forward, batch: dict[str, torch.Tensor], name: str) -> NDArray[Any]:
    try:
        return np.asarray(run(batch).float().cpu().numpy())
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # architectures fail in their own ways
        size = " x ".join(map(str, batch["input_ids"].shape))
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(f"{name} fails on {size} tokens with {type(error).__name__}: {reason}") from error


def label_scorer(model: PreTrainedModel, words: Sequence[Sequence[int]]) -> Forward:
    """A `forward` for text-to-text models: the log-probability of each answer's `words` (tokens), (batch, answers)."""

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        size = batch["input_ids"].shape[0]
        encoded = model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        scores = []
        for ids in words:
            target = torch.tensor([ids] * size, device=batch["input_ids"].device)
            logits = model(encoder_outputs=encoded, attention_mask=batch["attention_mask"], labels=target).logits
            scores.append(logits.float().log_softmax(-1).gather(-1, target.unsqueeze(-1)).sum((1, 2)))
        return torch.stack(scores, 1)

    return forward
