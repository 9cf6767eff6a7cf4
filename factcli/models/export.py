"""An export: what is in a directory that reloads anywhere; written, reloaded and compared."""

import copy
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from .. import remote_code
from ..errors import CheckFailed, FactcliError
from ..files.atomic import write_json
from ..notes import note
from ..progress import tell
from ..remote_code import configuration_factorized, modeling_factorized
from ..remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from . import carried, tokenizers
from .check import check
from .loading import Loaded, load_model
from .locating import native_type
from .machine import portable_config
from .model import Model, factorized_class, find_model, layer_file_of
from .own_code import without_models
from .precision import beyond, cast, stored_dtypes

if TYPE_CHECKING:
    from ..compress.plan import Plan

MAX_SHARD_SIZE = "5GB"


def auto_map(config_class: type[PretrainedConfig], layer_file: Path = remote_code.MODELING) -> dict[str, str]:
    """AutoConfig, AutoModel and every head of a native architecture -> `module.Class` in the exported files."""
    entries = {"AutoConfig": f"configuration_factorized.{PREFIX}{config_class.__name__}"}
    for name in _auto_names():
        found = getattr(transformers, name)._model_mapping._model_mapping.get(config_class.model_type)
        native = found[0] if isinstance(found, (list, tuple)) else found
        if native and hasattr(transformers, native):
            entries[name] = f"{layer_file.stem}.{PREFIX}{native}"
    return entries


@cache
def _auto_names() -> tuple[str, ...]:
    """Names of the Auto classes of models."""
    names = [name for name in sorted(modeling_auto.__all__) if name.startswith("AutoModel")]
    return tuple(name for name in names if hasattr(getattr(transformers, name), "_model_mapping"))


def auto_class(source: Model, model_class: type[PreTrainedModel]) -> str:
    """The Auto class that gives a model of `model_class` (native or ours) back."""
    wanted = f"modeling_factorized.{PREFIX}{model_class.__name__.removeprefix(PREFIX)}"
    names = [name for name, reference in auto_map(source.native_config_class).items() if reference == wanted]
    return next((n for n in names if n != "AutoModelForPreTraining"), "AutoModel")


def export_config(
    source: Model, plan: "Plan", model_class: type[PreTrainedModel], changes: dict[str, Any]
) -> dict[str, Any]:
    """config.json: the source's, word for word but for what is of another machine, with our model type, auto_map, the
    plan, and `changes`."""
    return carried_config(source) | {
        "model_type": f"factorized_{source.native_config_class.model_type}",
        "architectures": [PREFIX + model_class.__name__.removeprefix(PREFIX)],
        "auto_map": carried_auto_map(source) | auto_map(source.native_config_class, plan.layer_file),
        "factorization": {
            "format_version": FORMAT_VERSION,
            "layers": [layer.to_json() for layer in plan.layers],
        },
        **changes,
    }


def carried_config(source: Model) -> dict[str, Any]:
    """What a config.json made from that of `source` takes from it: all but what belongs to the machine it was made on,
    and code of its own that is not trusted."""
    values = portable_config(source.raw)
    return values if source.trusted else {k: v for k, v in values.items() if k != "custom_pipelines"}


def carried_auto_map(source: Model) -> dict[str, Any]:
    """The classes of tokenizers and processors that the source's config.json names, where their code is trusted."""
    return without_models(source.raw.get("auto_map")) if source.trusted else {}


def dense_config(source: Model, model_class: type[PreTrainedModel], changes: dict[str, Any]) -> dict[str, Any]:
    """config.json of a native model: the source's, word for word, with the class and `changes`."""
    named = carried_auto_map(source)
    raw = carried_config(source) | ({"auto_map": named} if named else {})
    return raw | {"architectures": [model_class.__name__], **changes}


def with_dtype(raw: dict[str, Any], dtype: str) -> dict[str, Any]:
    """A config.json that says, wherever it says a precision, that the weights are in this one."""
    named = {k: dtype for k in ("dtype", "torch_dtype") if k in raw} or {"dtype": dtype}
    parts = {
        k: with_dtype(v, dtype) if v.keys() & {"dtype", "torch_dtype"} else v
        for k, v in raw.items()
        if isinstance(v, dict) and ("model_type" in v or k.endswith("_config"))
    }
    return raw | parts | named


def write_model(
    work: Path,
    loaded: Loaded,
    source: Model,
    plan: "Plan | None",
    texts: dict[str, str],
    changes: dict[str, Any] | None = None,
    dtype: str | None = None,
) -> PreTrainedModel:
    """A whole model in the empty directory `work`: an export, or without a plan a native model. Reloaded and compared.

    `loaded.model` is a native or factorized model whose layers are as in `plan`; it is cast in place to what is saved.
    `texts` are more files by name (card, recipe); `changes` go into config.json (labels of a new head); `dtype` is the
    precision to save in, the source's by default.

    Returns:
        The model as it is in `work`, reloaded, in evaluation mode.

    Raises:
        CheckFailed: What was written does not come back, or gives no numbers. `work` is whole then. Values that
            `dtype` cannot hold are written in float32.
    """
    dtype = dtype or source.dtype
    model_class = type(loaded.model)
    if plan is None:
        raw = dense_config(source, model_class, changes or {})
    else:
        raw = export_config(source, plan, model_class, changes or {})
        if not issubclass(model_class, modeling_factorized.FactorizedModel):
            model_class = factorized_class(model_class, plan.layer_file)
    raw.pop("transformers_weights", None)  # the name of the source's file
    _say_what_differs(source, loaded)
    config = _config_class(source, plan is not None).from_dict(raw | {"dtype": dtype})
    state = loaded.model.state_dict()
    dtypes = stored_dtypes(model_class, config, state, getattr(torch, dtype))
    large = beyond(state, dtypes)
    if large is not None:
        wanted, dtype = dtype, "float32"
        dtypes = stored_dtypes(model_class, config, state, torch.float32)
    cast(loaded.model, dtypes)
    write_small_files(work, source, with_dtype(raw, dtype))
    tell(0, 0, "writing")
    write_weights(work, loaded)
    for file in remote_code.files_with(plan.layer_file) if plan is not None else ():
        shutil.copyfile(file, work / file.name)
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")
    reloaded = check(work, loaded, model_class, source)
    if large is not None:
        raise CheckFailed(
            f"{large} has values that are too large for {wanted}, so float32 was written in its place: give --dtype "
            "bfloat16 or float32."
        )
    return reloaded


def _say_what_differs(source: Model, loaded: Loaded) -> None:
    """Between what the source's files hold and what its class uses."""
    if loaded.absent:
        note(f"{source.name} has no weights for {_first(loaded.absent)}: what is written has none either.")
    if loaded.extra:
        what = type(loaded.model).__name__
        note(f"{source.name} has tensors that {what} does not use, {_first(loaded.extra)}: kept as they are.")
    model: Any = loaded.model
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False) and isinstance(head, nn.Linear)
    if tied and head.weight is not embeddings.weight and head.weight.shape == embeddings.weight.shape:
        note(
            f"{source.name} ties its head to its embeddings in config.json, and has two that differ in its weights: "
            "both are written, but transformers 4 reads the embeddings alone."
        )


def _first(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return first + (f" and {len(others)} more" if others else "")


def _config_class(source: Model, factorized: bool) -> Any:
    if source.factorized or not factorized:
        return type(source.config)
    return getattr(configuration_factorized, PREFIX + source.native_config_class.__name__)


def write_bare(work: Path, source: Model) -> None:
    """What is read of a model beside its weights, in the empty directory `work`: configuration, tokenizer and the like,
    and the code that config.json names."""
    copy_small_files(source, work)
    ours = {"auto_map": source.raw["auto_map"]} if source.factorized else {}
    write_json(work / "config.json", carried_config(source) | ours)
    for file in remote_code.files_with(layer_file_of(source.raw)) if source.factorized else ():
        shutil.copyfile(file, work / file.name)


def write_weights(work: Path, loaded: Loaded) -> None:
    """model.safetensors (sharded when large): each tensor once, and as they were those that no layer has."""
    # Clones: tensors that share memory without being tied, or that are empty, would be taken for copies of each other.
    state = {name: t.contiguous() for name, t in (loaded.written() | loaded.extra).items()}
    save_torch_state_dict(state, work, max_shard_size=MAX_SHARD_SIZE, metadata={"format": "pt"})
    mode = (work / "config.json").stat().st_mode
    for file in work.glob("*.safetensors"):
        file.chmod(mode)  # safetensors writes for the owner alone


def write_small_files(work: Path, source: Model, config: dict[str, Any]) -> None:
    """All of a model made from `source` but weights, code and what is said of it; `config` is its config.json."""
    copy_small_files(source, work)
    write_json(work / "config.json", config)
    if "factorization" in config:
        ours = _config_class(source, True).from_dict(copy.deepcopy(config))
        tokenizers.settle(source.path, source.config, work, ours, source.trusted)


def copy_small_files(source: Model, work: Path) -> None:
    """Everything that a loader of the source reads beside config.json and the weights: see `models.carried`."""
    carried.copy(source.files, source.path, work, source.trusted)
    tokenizers.name_classes(work, native_type(source.raw), source.raw)


def load(path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedModel:
    """A factorized model (a directory or Hub id, at `revision`) in its own class, with factcli's code.

    None of the model's own code is run, unless it is not factcli's and `trust_remote_code` says that it may be.
    Raises FactcliError where it is not a factorized model, or of a newer format.
    """
    source = find_model(str(path), revision, trust_remote_code, accept_factorized=True)
    if not source.factorized:
        raise FactcliError(f"{path} is not a factorized model: make one with 'factcli convert'.")
    register(source)
    return load_model(source).model


def register(source: Model) -> None:
    """Make the Auto classes and pipelines of this process know a factorized architecture."""
    config_class = type(source.config)
    transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    code = remote_code.module(layer_file_of(source.raw))
    for auto, reference in auto_map(source.native_config_class).items():
        if auto != "AutoConfig":
            head = getattr(code, reference.partition(".")[2])
            getattr(transformers, auto).register(config_class, head, exist_ok=True)
