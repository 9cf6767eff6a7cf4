"""What is trained on what: everything that the runs of a search or of several seeds have in common."""

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ..compress.plan import Layer, Plan
from ..data.alignment import say_unread, token_targets
from ..data.encoding import Prompt, encode, encode_answers, labels_of
from ..data.labels import (
    check_problem,
    check_words,
    head_size,
    model_labels,
    named_order,
    outputs_of_classes,
    unnamed,
)
from ..data.tasks import LABEL, Task
from ..errors import FactcliError
from ..models.fit import IGNORED, Features, Fit, find_fit
from ..models.loading import Loaded, align, bare_model, load_model
from ..models.model import Model, factorized_class, layer_file_of, native_head
from ..models.precision import config_in
from ..models.purpose import EMBEDDING, HIDDEN, Purpose, gives_probability
from ..models.trained import Trained
from ..notes import note
from ..recipe.factorizing import Recipe
from ..recipe.file import FILE_NAME, read_recipe, recorded_recipe
from ..recipe.rules import without_effect
from ..recipe.training import Settings
from ..remote_code import configuration_factorized
from ..remote_code.configuration_factorized import FORMAT_VERSION, PREFIX

if TYPE_CHECKING:
    from datasets import Dataset

IN_WORDS = "AutoModelForSeq2SeqLM"


@dataclass
class Job:
    """`source` has the class and configuration of the model to train, `changes` are what that changes in config.json.

    `plan` is the whole plan, None for a dense model that stays dense; `recipe` made it. `outputs` is the model's
    output for each class of the task. `keep_head` False replaces the head that the source has. `train` and
    `validation_features` are `examples` and `validation` as `fit` encodes them; `words` are the tokens of the
    labels, where they are the answers. `tokenizer_changes` are what the export's tokenizer_config.json needs, so
    that it can pad. `trust_remote_code` holds for the other models that a run reads: a teacher, one to mix with.
    `dtype` is what to save in, None being the precision of the recipe or the source. `purpose` is what is learnt of a
    teacher alone, from texts without labels; None where there are labels. With `sigmoid` the labels, from 0 to 1, are
    probabilities of the one output.
    """

    source: Model
    task: Task
    settings: Settings
    fit: Fit
    train: list[Features]
    train_labels: NDArray[Any]
    examples: "Dataset"
    validation: "Dataset"
    validation_features: list[Features]
    changes: dict[str, Any]
    outputs: list[int]
    plan: Plan | None = None
    recipe: Recipe | None = None
    keep_head: bool = True
    data_dir: str | Path | None = None
    trust_remote_code: bool = False
    dtype: str | None = None
    words: list[list[int]] | None = None
    tokenizer_changes: dict[str, Any] = field(default_factory=dict)
    purpose: Purpose | None = None
    sigmoid: bool = False

    @property
    def known(self) -> dict[str, bool]:
        """What of the task decides which settings have an effect."""
        kind = None if self.purpose is None else self.purpose.kind
        of_teacher = {"unlabelled": kind is not None, "embedding": kind == EMBEDDING, "hidden": kind == HIDDEN}
        return {"regression": self.task.regression} | of_teacher

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.fit.tokenizer

    @property
    def trained(self) -> Trained:
        """What the export remembers of the training."""
        return Trained(
            None if self.task.files else self.task.name, self.task.columns, self.task.label, self.task.labels,
            self.settings.max_length, Prompt.of(self.task).name if self.settings.text_to_text else None,
        )  # fmt: skip


def with_head(source: Model, task: Task, settings: Settings) -> tuple[Model, dict[str, Any], list[int], bool]:
    """The source with the head that the task needs, the changes in its configuration, the model's output for each
    class, and whether weights of the source's own head are used.

    A head that is there must fit the task by number and names of labels (or be replaced: `settings.new_head`).
    """
    text_to_text, label_names = settings.text_to_text, settings.label_names
    native = native_head(source.native_config_class, IN_WORDS if text_to_text else f"AutoModel{task.head}")
    if native is None:
        heads = {True: "token-classification", False: "sequence-classification"}
        what = "text-to-text" if text_to_text else heads[task.tagging]
        raise FactcliError(f"{source.name} ({source.config.model_type}) has no {what} head in transformers.")
    model_class = factorized_class(native, layer_file_of(source.raw)) if source.factorized else native
    has_head = source.model_class.__name__.removeprefix(PREFIX) == native.__name__
    config = copy.deepcopy(source.config)
    identity = list(range(len(task.labels)))
    keep = has_head and not settings.new_head
    if label_names and not task.files and (text_to_text or not keep):
        how = "for a model that answers in words" if text_to_text else "on a new head"
        raise without_effect("--label-names", f"{how}, which takes the labels of {task.name} in their own order")
    if text_to_text:
        check_words(task)
        return replace(source, config=config, model_class=model_class), {}, identity, True
    outputs, names = identity, list(task.labels)
    if keep and task.regression:
        if config.num_labels != 1:
            raise FactcliError(
                f"{source.name} has a head for {config.num_labels} labels but {task.name} is a regression: "
                "give --new-head to start with a fresh one."
            )
    elif keep:
        if label_names:
            check_problem(task, config, source.name)
            order: list[int] | None = named_order(task, label_names, head_size(config))
        else:
            order = outputs_of_classes(task, config, source.name)
        if order is not None:
            outputs = order
            names = [task.labels[order.index(i)] for i in identity]
        if not unnamed(model_labels(config)):
            names = model_labels(config)  # as the model spells them
    problem = None if task.tagging else task.problem_type
    changes: dict[str, Any] = {"problem_type": problem} if problem or config.problem_type else {}
    if task.regression:
        changes |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        config.num_labels = 1
    else:
        changes |= {
            "id2label": {str(i): n for i, n in enumerate(names)},
            "label2id": {n: i for i, n in enumerate(names)},
        }
        config.id2label, config.label2id = dict(enumerate(names)), changes["label2id"]
    config.problem_type = changes.get("problem_type")
    return replace(source, config=config, model_class=model_class), changes, outputs, keep


def prepare(source: Model, task: Task, settings: Settings, train: "Dataset", validation: "Dataset") -> Job:
    """A job without a plan. Raises FactcliError where model, task and data do not fit together."""
    in_words = settings.text_to_text
    headed, changes, outputs, keep = with_head(source, task, settings)
    fit = find_fit(bare_model(headed), source.tokenizer, source.name, in_words)
    changes |= padding_token(headed, fit)
    tokenizer_changes = fit.teach_padding()
    labels = labels_of(train)
    sigmoid = keep and task.regression and _probabilities(labels, gives_probability(source.config))
    if sigmoid:
        del changes["problem_type"]
        headed.config.problem_type = None
        note(f"{source.name} has one output, a probability: the labels of {task.name} are learnt by cross-entropy.")
    if not task.regression and len(np.unique(labels, axis=0)) < 2:
        have = "the same labels in every row" if task.multi_label else "one class only"
        raise FactcliError(f"The training data of {task.name} have {have}: give rows of at least two.")
    limit = fit.limit(settings.max_length, task.pair and not in_words)
    settings = settings.but(max_length=limit.tokens)
    prompt = Prompt.of(task) if in_words else None
    features, validation_features = (encode(fit, data, limit.tokens, prompt) for data in (train, validation))
    for encoded in (features, validation_features):
        fit.fill_empty(encoded)
        fit.check_ends(encoded, alike=encoded is features)
    limit.say([*features, *validation_features])
    say_unread(features, limit.tokens, source.name, "are not learnt")
    say_unread(validation_features, limit.tokens, source.name, "count as outside of any span, or as wrong")
    words = encode_answers(fit, task.labels, limit.tokens) if in_words else None
    if task.tagging:
        targets: list[Any] = _tags(task, features, train, outputs)
    else:
        targets = _targets(task, labels, outputs) if words is None else [words[int(i)] for i in labels]
    for feature, target in zip(features, targets, strict=True):
        feature["labels"] = target
    return Job(
        headed, task, settings, fit, features, labels, train, validation, validation_features, changes, outputs,
        keep_head=keep, words=words, tokenizer_changes=tokenizer_changes, sigmoid=sigmoid,
    )  # fmt: skip


def _probabilities(labels: NDArray[Any], said: bool | None) -> bool:
    """Whether labels are probabilities of an output that is `said` to be one; where nothing is said, whether they are
    all 0 or 1."""
    return said is not False and bool(np.all((labels >= 0) & (labels <= 1) if said else (labels == 0) | (labels == 1)))


def _targets(task: Task, labels: NDArray[Any], outputs: list[int]) -> list[Any]:
    """What the head is to answer to each example: an output index, a number, or 0.0 or 1.0 for each output."""
    if task.regression:
        return [float(v) for v in labels]
    if task.multi_label:
        found: list[Any] = labels[:, np.argsort(outputs)].astype(float).tolist()
        return found
    return [outputs[int(i)] for i in labels]


def _tags(task: Task, features: list[Features], train: "Dataset", outputs: list[int]) -> list[list[int]]:
    """What the head is to answer at each token: an output index. Raises FactcliError for a row without any."""
    pairs = zip(features, train[LABEL], strict=True)
    targets = [token_targets(feature, [outputs[tag] for tag in tags]) for feature, tags in pairs]
    for row, found in enumerate(targets, 1):
        if set(found) <= {IGNORED}:
            raise FactcliError(
                f"Row {row} of the training data of {task.name} has no word of which a token is read: leave it out."
            )
    return targets


def padding_token(headed: Model, fit: Fit) -> dict[str, Any]:
    """Make the configuration name a padding token that there is, and for a classifier that reads from left to right the
    one that texts are padded with. Returns the changes in config.json."""
    config = headed.config.get_text_config()
    named = config.pad_token_id
    if named == fit.pad_id or (fit.has(named) and not fit.decoder):
        return {}
    if named is not None:
        note(f"{fit.name} names {named} as padding in its config.json: {fit.pad_id}, as it is padded, takes its place.")
    config.pad_token_id = fit.pad_id
    changes = {"pad_token_id": fit.pad_id}
    whole = headed.config
    part = next((k for k in headed.raw if config is not whole and getattr(whole, k, None) is config), None)
    return changes if part is None else {part: headed.raw[part] | changes}


def existing_plan(source: Model) -> tuple[Plan, Recipe | None]:
    """Plan and recipe (None: not known) of a model that is factorized already; the counts of the whole model are filled
    in later."""
    layers = tuple(Layer.from_json(entry) for entry in source.raw["factorization"]["layers"])
    file = source.path / FILE_NAME
    recipe = recorded_recipe(file) if file.is_file() and read_recipe(file) else None
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
    # In float32: as saved, it may be of a precision that does not train.
    if job.keep_head:
        loaded = load_model(source, dtype=torch.float32)
    else:  # the source's own head does not fit: take the rest
        own = replace(source, config=_original_head(source, job))
        base = load_model(own, dtype=torch.float32)
        fresh = source.model_class(config_in(source.config, torch.float32))
        fresh.base_model.load_state_dict(base.model.base_model.state_dict())
        loaded = Loaded(fresh)
    align(loaded.model)  # from the first step on, so that a run that is resumed rounds alike
    return Loaded(loaded.model, loaded.absent)


def _original_head(source: Model, job: Job) -> Any:
    config = copy.deepcopy(source.config)
    names = job.source.raw.get("id2label")
    if names:
        config.id2label = {int(i): n for i, n in names.items()}
        config.label2id = {n: i for i, n in config.id2label.items()}
    else:
        config.num_labels = 2
    return config


def factorized_config(source: Model, plan: Plan) -> Any:
    """Our configuration for a dense source, with every target of the plan still dense."""
    config_class = getattr(configuration_factorized, PREFIX + source.native_config_class.__name__)
    values = {k: v for k, v in source.config.to_dict().items() if k not in ("model_type", "auto_map", "architectures")}
    layers = [layer.left_dense().to_json() for layer in plan.layers]
    return config_class.from_dict(values | {"factorization": {"format_version": FORMAT_VERSION, "layers": layers}})
