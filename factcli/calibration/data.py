"""The texts to calibrate on: a GLUE task, the user's file, or a Hub data set; never the validation split."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PretrainedConfig

from ..errors import FactcliError, UsageError
from ..hub.data import commit_of, load_data
from ..labels import head_size, model_labels, outputs_of_classes, unnamed
from ..models.fit import Fit
from ..prediction import encode
from ..tasks import GLUE, HUB_ID, LABEL, Task, load_split, user_task
from .losses import Example
from .statistics import FISHER

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class CalibrationOptions:
    """What to calibrate on and how; the values of a recipe, except for `data_dir`, where GLUE's files are.

    `data` is a GLUE task, a file or a Hub data set (its train split, at `revision`); `samples` of its rows are drawn
    with `seed`, cut at `max_length` tokens (None: 128, or as many as the model
    takes). `fisher` is "sampled" from the model's own predictions or "empirical", from the labels.
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

    def __post_init__(self) -> None:
        if self.fisher not in FISHER:
            raise UsageError(f"--fisher {self.fisher!r} is unknown: take {' or '.join(FISHER)}.")
        if self.samples < 1 or (self.max_length is not None and self.max_length < 1):
            raise UsageError("--calibration-samples and --max-length are at least 1.")


def load_examples(options: CalibrationOptions, fit: Fit, config: PretrainedConfig, labelled: bool) -> list[Example]:
    """The examples, encoded; with the model's class of each where `labelled`.

    Raises FactcliError for data that are not there, are empty, or have not the columns that are needed, and for what
    the model cannot take.
    """
    task = _task(options, config, labelled)
    data = load_split(task, "train", options.data_dir, revision=options.revision)
    if len(data) > options.samples:
        generator = torch.Generator().manual_seed(options.seed)
        data = data.select(sorted(torch.randperm(len(data), generator=generator)[: options.samples].tolist()))
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


def _task(options: CalibrationOptions, config: PretrainedConfig, labelled: bool) -> Task:
    if options.data in list(GLUE):
        return GLUE[options.data]
    here = _is_file(options.data)
    file = Path(options.data).expanduser() if here else _from_hub(options.data, options.revision)
    label = options.label_column if labelled else None
    names = model_labels(config) if labelled and not unnamed(model_labels(config)) else ()
    number = head_size(config) == 1
    task = user_task({"train": file}, options.text_column, label, () if number else names, True if number else None)
    numbers = tuple(str(i) for i in range(head_size(config)))
    return replace(task, labels=numbers) if not names and set(task.labels) <= set(numbers) and task.labels else task


def hub_data(options: CalibrationOptions) -> tuple[str, str | None] | None:
    """Data set and commit that `load_examples` reads; None for files."""
    if options.data in list(GLUE):
        return None if options.data_dir is not None else (HUB_ID, commit_of(HUB_ID, options.revision))
    return None if _is_file(options.data) else (options.data, commit_of(options.data, options.revision))


def _is_file(name: str) -> bool:
    file = Path(name).expanduser()
    return file.is_file() or bool(file.suffix) or name.startswith((".", "/", "~"))


def _from_hub(name: str, revision: str | None) -> Path:
    """A parquet file with the train split of a Hub data set, in its cache."""
    import datasets

    known = f"GLUE tasks are {', '.join(GLUE)}; files end in .csv, .tsv, .jsonl, .parquet or .txt"
    if "/" not in name:
        raise FactcliError(f"--calibration {name} is neither a GLUE task, a file, nor a Hub id owner/name: {known}.")
    try:
        loaded = load_data(name, None, "train", revision)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(f"--calibration {name} cannot be read from the Hub ({reason}): {known}.") from error
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "factcli"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name.replace('/', '--')}-{loaded._fingerprint}.parquet"
    if not file.is_file():
        loaded.to_parquet(file)
    return file


def _labels(task: Task, data: "Dataset", config: PretrainedConfig) -> list[float | None]:
    values = list(data[LABEL])
    if task.regression or head_size(config) == 1:
        return [float(v) for v in values]
    order = outputs_of_classes(task, config, "The model") if task.labels else None
    return [float(v if order is None else order[int(v)]) for v in values]
