"""An export: what is in a directory that reloads anywhere; written, reloaded and compared."""

import json
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from . import remote_code
from .errors import CheckFailed, FactcliError
from .models.check import check
from .models.precision import beyond, cast, stored_dtypes
from .notes import note
from .plan import Plan
from .remote_code import configuration_factorized, modeling_factorized
from .remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from .source import Loaded, Source, factorized_class, find_source, load_model

_SMALL = {".json", ".txt", ".model", ".jinja", ".vocab", ".tiktoken", ".spm", ".merges", ".bpe"}
# Ours to write, or about the weights of the source alone.
_NOT_COPIED = {
    "config.json",
    "README.md",
    "eval_results.json",
    "finetune_results.json",
    "all_results.json",
    "train_results.json",
    "trainer_state.json",
}
_SKIPPED_DIRECTORIES = {"onnx", "openvino", "coreml", ".git", ".cache", "__pycache__"}
MAX_SHARD_SIZE = "5GB"


def auto_map(config_class: type[PretrainedConfig]) -> dict[str, str]:
    """AutoConfig, AutoModel and every head of a native architecture -> `module.Class` in the exported files."""
    entries = {"AutoConfig": f"configuration_factorized.{PREFIX}{config_class.__name__}"}
    for name in _auto_names():
        found = getattr(transformers, name)._model_mapping._model_mapping.get(config_class.model_type)
        native = found[0] if isinstance(found, (list, tuple)) else found
        if native and hasattr(transformers, native):
            entries[name] = f"modeling_factorized.{PREFIX}{native}"
    return entries


@cache
def _auto_names() -> tuple[str, ...]:
    """Names of the Auto classes of models; to list what transformers has takes a second."""
    names = [name for name in sorted(dir(transformers)) if name.startswith("AutoModel")]
    return tuple(name for name in names if hasattr(getattr(transformers, name), "_model_mapping"))


def auto_class(source: Source, model_class: type[PreTrainedModel]) -> str:
    """The Auto class that gives a model of `model_class` (native or ours) back."""
    wanted = f"modeling_factorized.{PREFIX}{model_class.__name__.removeprefix(PREFIX)}"
    names = [name for name, reference in auto_map(source.native_config_class).items() if reference == wanted]
    return next((n for n in names if n != "AutoModelForPreTraining"), "AutoModel")


def export_config(
    source: Source, plan: Plan, model_class: type[PreTrainedModel], changes: dict[str, Any]
) -> dict[str, Any]:
    """config.json: the source's, word for word, with our model type, auto_map, the plan, and `changes`."""
    raw = dict(source.raw)
    raw.pop("_name_or_path", None)
    return raw | {
        "model_type": f"factorized_{source.native_config_class.model_type}",
        "architectures": [PREFIX + model_class.__name__.removeprefix(PREFIX)],
        "auto_map": auto_map(source.native_config_class),
        "factorization": {
            "format_version": FORMAT_VERSION,
            "layers": [layer.to_json() for layer in plan.layers],
        },
        **changes,
    }


def dense_config(source: Source, model_class: type[PreTrainedModel], changes: dict[str, Any]) -> dict[str, Any]:
    """config.json of a native model: the source's, word for word, with the class and `changes`."""
    raw = {k: v for k, v in source.raw.items() if k != "_name_or_path"}
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
    source: Source,
    plan: Plan | None,
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
            model_class = factorized_class(model_class)
    raw.pop("transformers_weights", None)  # the name of the source's file
    _say_what_differs(source, loaded)
    config = _config_class(source, plan).from_dict(raw | {"dtype": dtype})
    state = loaded.model.state_dict()
    dtypes = stored_dtypes(model_class, config, state, getattr(torch, dtype))
    large = beyond(state, dtypes)
    if large is not None:
        wanted, dtype = dtype, "float32"
        dtypes = stored_dtypes(model_class, config, state, torch.float32)
    cast(loaded.model, dtypes)
    copy_small_files(source, work)
    write_json(work / "config.json", with_dtype(raw, dtype))
    write_weights(work, loaded)
    for file in remote_code.FILES if plan is not None else ():
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


def _say_what_differs(source: Source, loaded: Loaded) -> None:
    """Between what the source's files hold and what its class uses."""
    if loaded.absent:
        note(f"{source.name} has no weights for {_first(loaded.absent)}: what is written has none either.")
    if loaded.extra:
        what = type(loaded.model).__name__
        note(f"{source.name} has tensors that {what} does not use, {_first(loaded.extra)}: kept as they are.")
    model: Any = loaded.model
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False) and head is not None
    if tied and head.weight is not embeddings.weight and head.weight.shape == embeddings.weight.shape:
        note(
            f"{source.name} ties its head to its embeddings in config.json, and has two that differ in its weights: "
            "both are written, but transformers 4 reads the embeddings alone."
        )


def _first(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return first + (f" and {len(others)} more" if others else "")


def _config_class(source: Source, plan: Plan | None) -> Any:
    if plan is None or source.factorized:
        return type(source.config)
    return getattr(configuration_factorized, PREFIX + source.native_config_class.__name__)


def write_weights(work: Path, loaded: Loaded) -> None:
    """model.safetensors (sharded when large): each tensor once, and as they were those that no layer has."""
    # Clones: tensors that share memory without being tied, or that are empty, would be taken for copies of each other.
    state = {name: t.contiguous() for name, t in (loaded.written() | loaded.extra).items()}
    save_torch_state_dict(state, work, max_shard_size=MAX_SHARD_SIZE, metadata={"format": "pt"})
    mode = (work / "config.json").stat().st_mode
    for file in work.glob("*.safetensors"):
        file.chmod(mode)  # safetensors writes for the owner alone


def copy_small_files(source: Source, work: Path) -> None:
    """Tokenizer, generation configuration, chat template, pooling…: every small file that is not weights or code.

    A tokenizer configuration without a class gets the one of the source's architecture, which the Auto class could
    no longer guess from our model type.
    """
    for file in sorted(p for p in source.path.rglob("*") if p.is_file()):
        relative = file.relative_to(source.path)
        if str(relative) in _NOT_COPIED or relative.name.endswith(".index.json") or file.suffix not in _SMALL:
            continue
        if set(relative.parts[:-1]) & _SKIPPED_DIRECTORIES:
            continue
        (work / relative.parent).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, work / relative)
    tokenizer = work / "tokenizer_config.json"
    named: Any = TOKENIZER_MAPPING_NAMES.get(source.native_config_class.model_type)
    has_vocabulary = any((work / n).is_file() for n in ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model"))
    if named and (tokenizer.is_file() or has_vocabulary):
        values = json.loads(tokenizer.read_text(encoding="utf-8")) if tokenizer.is_file() else {}
        if not values.get("tokenizer_class"):
            names = [n for n in (named if isinstance(named, (list, tuple)) else (named,)) if n]
            values["tokenizer_class"] = names[0].removesuffix("Fast")
            write_json(tokenizer, values)


def write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: str | Path, *, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedModel:
    """A factorized model (a directory or Hub id, at `revision`) in its own class, with factcli's code.

    None of the model's own code is run, unless it is not factcli's and `trust_remote_code` says that it may be.
    Raises FactcliError where it is not a factorized model, or of a newer format.
    """
    source = find_source(str(path), revision, trust_remote_code, accept_factorized=True)
    if not source.factorized:
        raise FactcliError(f"{path} is not a factorized model: make one with 'factcli convert'.")
    register(source)
    return load_model(source).model


def register(source: Source) -> None:
    """Make the Auto classes and pipelines of this process know a factorized architecture."""
    config_class = type(source.config)
    transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for auto, reference in auto_map(source.native_config_class).items():
        if auto != "AutoConfig":
            head = getattr(modeling_factorized, reference.partition(".")[2])
            getattr(transformers, auto).register(config_class, head, exist_ok=True)
