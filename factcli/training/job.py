"""What is trained on what: everything that the runs of a search or of several seeds have in common."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ..compress.plan import Layer, Plan
from ..errors import FactcliError, UsageError
from ..labels import model_labels, named_order, outputs_of_classes, unnamed
from ..prediction import Features, encode, labels_of, load_tokenizer, prompts
from ..recipe.old_recipe import FILE_NAME, Recipe, make_recipe
from ..remote_code import configuration_factorized
from ..remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from ..source import Loaded, Source, factorized_class, layer_file_of, load_model, native_head
from ..tasks import Task
from .settings import Settings

if TYPE_CHECKING:
    from datasets import Dataset

HEADS = {False: "AutoModelForSequenceClassification", True: "AutoModelForSeq2SeqLM"}


@dataclass
class Job:
    """`source` has the class and configuration of the model to train, `changes` are what that changes in config.json.

    `plan` is the whole plan, None for a dense model that stays dense; `recipe` made it. `outputs` is the model's output
    for each class of the task. `keep_head` False replaces the head that the source has.
    """

    source: Source
    task: Task
    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    train: list[Features]
    train_labels: NDArray[Any]
    validation: "Dataset"
    changes: dict[str, Any]
    outputs: list[int]
    plan: Plan | None = None
    recipe: Recipe | None = None
    keep_head: bool = True
    data_dir: str | Path | None = None


def with_head(
    source: Source, task: Task, text_to_text: bool, new_head: bool, label_names: list[str]
) -> tuple[Source, dict[str, Any], list[int], bool]:
    """The source with the head that the task needs, the changes in its configuration, the model's output for each
    class, and whether weights of the source's own head are used.

    A head that is there must fit the task by number and names of labels (or be replaced: `new_head`).
    """
    native = native_head(source.native_config_class, HEADS[text_to_text])
    if native is None:
        what = "text-to-text" if text_to_text else "sequence-classification"
        raise FactcliError(f"{source.name} ({source.config.model_type}) has no {what} head in transformers.")
    model_class = factorized_class(native, layer_file_of(source.raw)) if source.factorized else native
    has_head = source.model_class.__name__.removeprefix(PREFIX) == native.__name__
    config = copy.deepcopy(source.config)
    identity = list(range(len(task.labels)))
    if text_to_text:
        if task.regression:
            raise UsageError(f"{task.name} is a regression, which is not answered in words: leave out --text-to-text.")
        return replace(source, config=config, model_class=model_class), {}, identity, True
    keep = has_head and not new_head
    outputs, names = identity, list(task.labels)
    if keep and task.regression:
        if config.num_labels != 1:
            raise FactcliError(
                f"{source.name} has a head for {config.num_labels} labels but {task.name} is a regression: "
                "give --new-head to start with a fresh one."
            )
    elif keep:
        order = outputs_of_classes(task, config, source.name)
        if label_names:
            order = named_order(task, label_names, len(identity))
        if order is not None:
            outputs = order
            names = [task.labels[order.index(i)] for i in identity]
        if not unnamed(model_labels(config)):
            names = model_labels(config)  # as the model spells them
    changes: dict[str, Any] = {"problem_type": "single_label_classification"}
    if task.regression:
        changes = {"problem_type": "regression", "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        config.num_labels = 1
    else:
        changes |= {
            "id2label": {str(i): n for i, n in enumerate(names)},
            "label2id": {n: i for i, n in enumerate(names)},
        }
        config.id2label, config.label2id = dict(enumerate(names)), changes["label2id"]
    config.problem_type = changes["problem_type"]
    return replace(source, config=config, model_class=model_class), changes, outputs, keep


def prepare(
    source: Source,
    task: Task,
    settings: Settings,
    train: "Dataset",
    validation: "Dataset",
    new_head: bool = False,
    label_names: list[str] | None = None,
) -> Job:
    """A job without a plan. Raises FactcliError where model, task and data do not fit together."""
    headed, changes, outputs, keep = with_head(source, task, settings.text_to_text, new_head, label_names or [])
    tokenizer = load_tokenizer(source)
    if headed.config.get_text_config().pad_token_id is None and not settings.text_to_text:
        headed.config.pad_token_id = changes["pad_token_id"] = tokenizer.pad_token_id
    labels = labels_of(train)
    if not task.regression and len(np.unique(labels)) < 2:
        raise FactcliError(f"The training data of {task.name} have one class only: give rows of at least two.")
    if settings.text_to_text:
        features = encode(tokenizer, train, settings.max_length, prompts(task, train))
        words = tokenizer(text_target=list(task.labels), truncation=True, max_length=settings.max_length)["input_ids"]
        targets: list[Any] = [list(words[int(i)]) for i in labels]
    else:
        features = encode(tokenizer, train, settings.max_length)
        targets = [float(v) for v in labels] if task.regression else [outputs[int(i)] for i in labels]
    for feature, target in zip(features, targets, strict=True):
        feature["labels"] = target
    return Job(
        headed, task, settings, tokenizer, features, labels, validation, changes, outputs, keep_head=keep
    )  # fmt: skip


def existing_plan(source: Source) -> tuple[Plan, Recipe]:
    """Plan and recipe of a model that is factorized already; the counts of the whole model are filled in later."""
    layers = tuple(Layer.from_json(entry) for entry in source.raw["factorization"]["layers"])
    file = source.path / FILE_NAME
    if file.is_file():
        recipe = make_recipe(file, {})
    else:
        kinds = [layer.structure for layer in layers if layer.structure != "dense"]
        recipe = Recipe(method=kinds[0]) if kinds else Recipe()
    return Plan(layers, 0, sum(layer.shape[0] * layer.shape[1] for layer in layers)), recipe


def build_model(job: Job) -> Loaded:
    """The model of a job in float32, every target as the source has it. With a plan it is of our class from the start,
    so that every checkpoint says which layers are factorized by then. New heads are random: seed before."""
    source = job.source
    if job.plan is not None and not source.factorized:
        source = replace(
            source,
            config=factorized_config(source, job.plan),
            model_class=factorized_class(source.model_class, job.plan.layer_file),
        )
    if job.keep_head:
        loaded = load_model(source)
    else:  # the source's own head does not fit: take the rest
        base = load_model(replace(source, config=_original_head(source, job), model_class=source.model_class))
        fresh = source.model_class(source.config)
        fresh.base_model.load_state_dict(base.model.base_model.state_dict())
        loaded = Loaded(fresh)
    torch.nn.Module.to(loaded.model, torch.float32)  # as saved, it may be of a precision that does not train
    return Loaded(loaded.model, loaded.absent)


def _original_head(source: Source, job: Job) -> Any:
    config = copy.deepcopy(source.config)
    names = job.source.raw.get("id2label")
    if names:
        config.id2label = {int(i): n for i, n in names.items()}
        config.label2id = {n: i for i, n in config.id2label.items()}
    else:
        config.num_labels = 2
    return config


def factorized_config(source: Source, plan: Plan) -> Any:
    """Our configuration for a dense source, with every target of the plan still dense."""
    config_class = getattr(configuration_factorized, PREFIX + source.native_config_class.__name__)
    values = {k: v for k, v in source.config.to_dict().items() if k not in ("model_type", "auto_map", "architectures")}
    layers = [layer.left_dense().to_json() for layer in plan.layers]
    return config_class.from_dict(values | {"factorization": {"format_version": FORMAT_VERSION, "layers": layers}})
