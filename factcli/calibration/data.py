"""The texts to calibrate on: a GLUE task, the user's file, or a Hub data set; never the validation split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PretrainedConfig

from ..data.encoding import encode
from ..data.hub_sets import parse_id, read_hub
from ..data.labels import by_output, head_size, model_labels, outputs_of_classes, unnamed
from ..data.tables import KINDS, is_table
from ..data.tasks import GLUE, HUB_ID, LABEL, MULTI, PAIR, TEXT, Task, load_split, user_task
from ..errors import FactcliError
from ..hub.data import commit_of
from ..models.fit import Features, Fit
from .losses import Example

if TYPE_CHECKING:
    from datasets import Dataset


_KINDS = f"GLUE tasks are {', '.join(GLUE)}; files end in {KINDS}"


@dataclass(frozen=True)
class CalibrationOptions:
    """What to calibrate on and how; the values of a recipe, except for `data_dir`, where GLUE's files are.

    `data` is a GLUE task, a file or a Hub data set (its train split, at `revision`); `samples` of its rows are drawn
    with `seed`, cut at `max_length` tokens (None: 128, or as many as the model takes). `fisher` is "sampled" from the
    model's own predictions or "empirical", from the labels; `objective` is what gradients are of (None: see
    models/purpose.chosen_purpose).
    """

    data: str
    samples: int = 512
    max_length: int | None = None
    fisher: str = "sampled"
    text_column: tuple[str, ...] = ()
    label_column: str = "label"
    data_dir: str | Path | None = None
    seed: int = 0
    revision: str | None = None
    objective: str | None = None


_READ = ("input_ids", "token_type_ids")  # of a text: where its words begin is for who has tags
COUNTED = 200_000  # rows at most, drawn as the examples are
AT_A_TIME = 4096


def count_tokens(options: CalibrationOptions, fit: Fit, config: PretrainedConfig, tokens: int) -> torch.Tensor:
    """How often each of `tokens` tokens occurs in what the model is given of the data, of which all rows are read (up
    to COUNTED): (tokens,) float64.

    Raises FactcliError as `load_examples`.
    """
    task, data = _drawn(replace(options, samples=COUNTED), config, False)
    limit, found = fit.limit(options.max_length, task.pair), np.zeros(tokens, np.int64)
    read = _reader(fit, limit.tokens, task)
    for start in range(0, len(data), AT_A_TIME):
        rows = data.select(range(start, min(start + AT_A_TIME, len(data))))
        ids = read(rows)
        fit.check_ids(ids)
        found += np.bincount(np.concatenate([np.asarray(i, np.int64) for i in ids]), minlength=tokens)
    return torch.from_numpy(found).double()


def _reader(fit: Fit, length: int, task: Task) -> Callable[["Dataset"], list[list[int]]]:
    """Gives the tokens of rows as `encode` does; of a fast tokenizer without all that it says beside them."""
    if not fit.tokenizer.is_fast or task.tagging:
        return lambda rows: [f["input_ids"] for f in encode(fit, rows, length)]
    backend = Tokenizer.from_str(fit.tokenizer.backend_tokenizer.to_str())
    backend.enable_truncation(length, direction=fit.tokenizer.truncation_side)
    backend.no_padding()

    def read(rows: "Dataset") -> list[list[int]]:
        texts = list(rows[TEXT])
        pairs = list(zip(texts, rows[PAIR], strict=True)) if PAIR in rows.column_names else texts
        return [encoding.ids for encoding in backend.encode_batch_fast(pairs)]

    return read


def load_examples(options: CalibrationOptions, fit: Fit, config: PretrainedConfig, labelled: bool) -> list[Example]:
    """The examples, encoded; with the model's class of each where `labelled`.

    Raises FactcliError for data that are not there, are empty, or have not the columns that are needed, and for what
    the model cannot take.
    """
    task, data = _drawn(options, config, labelled)
    labels = _labels(task, data, config) if labelled else [None] * len(data)
    limit = fit.limit(options.max_length, task.pair)
    features = encode(fit, data, limit.tokens)
    limit.say(features)
    fit.check_ends([f for f in features if f["input_ids"]], alike=False)
    return [
        Example(tuple(f["input_ids"]), tuple(f["token_type_ids"]) if "token_type_ids" in f else None, label)
        for f, label in zip(features, labels, strict=True)
        if f["input_ids"]
    ]


def load_others(
    options: CalibrationOptions, besides: Sequence[CalibrationOptions], fit: Fit, config: PretrainedConfig
) -> list[Features]:
    """Up to `options.samples` rows that are none of those that are drawn `besides`, of the same data, and none with the
    same tokens; encoded. Raises FactcliError as `load_examples`."""
    task = _task(options, config, False)
    data = load_split(task, "train", options.data_dir, revision=options.revision, skip_blank=True)
    seen = {row for one in besides for row in _order(len(data), one)}
    rows = [row for row in _order(len(data), replace(options, samples=len(data))) if row not in seen]
    limit = fit.limit(options.max_length, task.pair)
    before = {tuple(f["input_ids"]) for f in encode(fit, data.select(sorted(seen)), limit.tokens)} if seen else set()
    found: list[Features] = []
    for start in range(0, len(rows), AT_A_TIME):
        for feature in encode(fit, data.select(rows[start : start + AT_A_TIME]), limit.tokens):
            tokens = tuple(feature["input_ids"])
            if tokens and tokens not in before and len(found) < options.samples:
                before.add(tokens)
                found.append({name: feature[name] for name in _READ if name in feature})
        if len(found) == options.samples:
            break
    return found


def _order(count: int, options: CalibrationOptions) -> list[int]:
    """Which of `count` rows are drawn, in the order of their draw."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(options.seed))[: options.samples].tolist()


def _drawn(options: CalibrationOptions, config: PretrainedConfig, labelled: bool) -> tuple[Task, "Dataset"]:
    """The task and the rows that are taken."""
    task = _task(options, config, labelled)
    data = load_split(task, "train", options.data_dir, revision=options.revision, skip_blank=True)
    return task, data.select(sorted(_order(len(data), options))) if len(data) > options.samples else data


def _task(options: CalibrationOptions, config: PretrainedConfig, labelled: bool) -> Task:
    if options.data in list(GLUE):
        return GLUE[options.data]
    data = _source(options.data)
    table = (
        data.expanduser()
        if isinstance(data, Path)
        else read_hub(*data, "train", options.revision, "connect, or give a file")
    )
    label = options.label_column if labelled else None
    names = model_labels(config) if labelled and not unnamed(model_labels(config)) else ()
    number = head_size(config) == 1
    task = user_task(
        {"train": table}, options.text_column, label, () if number else names, True if number else None,
        advice="take --fisher sampled, or the data that the model was trained on", nameable=False,
    )  # fmt: skip
    return replace(task, labels=by_output(task, config)) if not names else task


def hub_data(options: CalibrationOptions) -> tuple[str, str | None] | None:
    """Data set (with its configuration) and commit that `load_examples` reads; None for files."""
    if options.data in list(GLUE):
        return None if options.data_dir is not None else (HUB_ID, commit_of(HUB_ID, options.revision))
    data = _source(options.data)
    return None if isinstance(data, Path) else (options.data, commit_of(data[0], options.revision))


def _source(name: str) -> Path | tuple[str, str | None]:
    """A file, or a data set of the Hub and its configuration. Raises FactcliError for what can be neither."""
    file = Path(name).expanduser()
    if file.exists() or name.startswith((".", "/", "~")) or is_table(file):
        return file
    found = parse_id(name)
    if found is None:
        raise FactcliError(
            f"--calibration {name} is neither a GLUE task, a file, nor a Hub id owner/name or "
            f"owner/name:configuration: {_KINDS}."
        )
    return found


def _labels(task: Task, data: "Dataset", config: PretrainedConfig) -> Sequence[float | tuple[float, ...]]:
    values = list(data[LABEL])
    if task.tagging:
        raise FactcliError("--fisher empirical cannot read a label for each token: take --fisher sampled.")
    if task.regression or head_size(config) == 1:
        return [float(v) for v in values]
    if task.multi_label and config.problem_type != MULTI:
        raise FactcliError(
            f"{task.name} has any number of labels a row, the model answers with one (its problem_type is "
            f"{config.problem_type}): take --fisher sampled."
        )
    found = outputs_of_classes(task, config, "The model") if task.labels else None
    order = list(range(head_size(config))) if found is None else found
    if task.multi_label:
        return [tuple(float(v[c]) for c in np.argsort(order)) for v in values]
    return [float(order[int(v)]) for v in values]
