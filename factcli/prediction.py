"""From texts to predictions: encoding, and forward passes in a fixed order."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from .errors import FactcliError
from .models.own_code import own_tokenizer
from .notes import note
from .source import Source
from .tasks import LABEL, PAIR, TEXT, Task

if TYPE_CHECKING:
    from datasets import Dataset

Features = dict[str, list[int]]


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The tokenizer of a source; code of its own is run where it is trusted. Raises FactcliError where it has none, or
    none that can pad."""
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
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise FactcliError(f"The tokenizer of {source.name} has no padding token: give it one.")
        tokenizer.pad_token = tokenizer.eos_token  # as is usual for models that generate
    found: PreTrainedTokenizerBase = tokenizer
    return found


def encode(
    tokenizer: PreTrainedTokenizerBase, data: "Dataset", max_length: int, texts: Sequence[str] | None = None
) -> list[Features]:
    """One entry an example, `input_ids` and so on, cut at `max_length` tokens, not padded. `texts` replace the data's
    (for text-to-text models)."""
    first = list(texts) if texts is not None else list(data[TEXT])
    second = list(data[PAIR]) if texts is None and PAIR in data.column_names else None
    encoded = tokenizer(first, second, truncation=True, max_length=max_length)
    return [{name: encoded[name][i] for name in encoded} for i in range(len(first))]


def prompts(task: Task, data: "Dataset") -> list[str]:
    """Inputs as T5 was taught them: "mrpc sentence1: … sentence2: …" (Raffel et al. 2020, appendix D)."""
    columns = [list(data[name]) for name in (TEXT, PAIR)[: len(task.columns)]]
    name = task.folder or task.name
    return [
        " ".join([name, *(f"{c}: {t}" for c, t in zip(task.columns, row, strict=True))])
        for row in zip(*columns, strict=True)
    ]


def labels_of(data: "Dataset") -> NDArray[Any]:
    """The labels (examples,): int64 classes or float64 numbers."""
    return np.asarray(data[LABEL])


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices, longest first, so that little is padded and too large a batch fails at once."""
    order = _longest_first(lengths)
    yield from (order[i : i + batch_size] for i in range(0, len(order), batch_size))


def batches_within(tokens: int, lengths: Sequence[int]) -> Iterator[list[int]]:
    """The same, with as many in a batch as `tokens` hold with padding, and at least one."""
    order = _longest_first(lengths)
    while order:
        size = max(1, tokens // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


Forward = Callable[[dict[str, torch.Tensor]], torch.Tensor]


def predict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    features: Sequence[Features],
    batch_size: int,
    forward: Forward | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Outputs of shape (examples, labels), float32, in the order of `features`; the model is left in its mode.

    `forward` maps a padded batch to outputs (batch, labels); by default it is the model's logits.
    """
    device = next(model.parameters()).device
    run = forward or (lambda batch: model(**batch).logits)
    rows: dict[int, NDArray[Any]] = {}
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            for indices in batches([len(f["input_ids"]) for f in features], batch_size):
                batch = tokenizer.pad([features[i] for i in indices], return_tensors="pt").to(device)
                outputs = run(dict(batch)).float().cpu().numpy()
                rows.update(zip(indices, outputs, strict=True))
                if progress:
                    progress(len(rows), len(features))
    finally:
        model.train(training)
    return np.stack([rows[i] for i in range(len(features))])


def label_scorer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int
) -> Forward:
    """A `forward` for text-to-text models: the log-probability of each label's words, (batch, labels)."""
    words = tokenizer(text_target=list(labels), truncation=True, max_length=max_length)["input_ids"]

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
