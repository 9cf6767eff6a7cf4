"""An export: what is in a directory that reloads anywhere; written, reloaded and compared."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from . import remote_code
from .compress.plan import Plan
from .errors import FactcliError
from .remote_code import modeling_factorized
from .remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from .source import Loaded, Source, factorized_class, find_source, layer_file_of

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


def auto_map(config_class: type[PretrainedConfig], layer_file: Path = remote_code.MODELING) -> dict[str, str]:
    """AutoConfig, AutoModel and every head of a native architecture -> `module.Class` in the exported files."""
    entries = {"AutoConfig": f"configuration_factorized.{PREFIX}{config_class.__name__}"}
    for name in sorted(dir(transformers)):
        if not name.startswith("AutoModel") or not hasattr(auto := getattr(transformers, name), "_model_mapping"):
            continue
        found = auto._model_mapping._model_mapping.get(config_class.model_type)
        native = found[0] if isinstance(found, (list, tuple)) else found
        if native and hasattr(transformers, native):
            entries[name] = f"{layer_file.stem}.{PREFIX}{native}"
    return entries


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
        "auto_map": auto_map(source.native_config_class, plan.layer_file),
        "factorization": {
            "format_version": FORMAT_VERSION,
            "layers": [layer.to_json() for layer in plan.layers],
        },
        **changes,
    }


def write_export(
    work: Path,
    loaded: Loaded,
    source: Source,
    plan: Plan,
    texts: dict[str, str],
    changes: dict[str, Any] | None = None,
    dtype: str | None = None,
) -> None:
    """A whole export in the empty directory `work`, reloaded and compared.

    `loaded.model` is a native or factorized model whose layers are as in `plan`; `texts` are more files by name (card,
    recipe); `changes` go into config.json (labels of a new head); `dtype` converts the weights.

    Raises FactcliError where what was written does not come back.
    """
    changes = dict(changes or {})
    if dtype:
        loaded.model.to(getattr(torch, dtype))
        loaded.extra = {k: t.to(getattr(torch, dtype)) for k, t in loaded.extra.items()}
        changes |= {"dtype": dtype} | ({"torch_dtype": dtype} if "torch_dtype" in source.raw else {})
    copy_small_files(source, work)
    write_json(work / "config.json", export_config(source, plan, type(loaded.model), changes))
    write_weights(work, loaded)
    for file in remote_code.files_with(plan.layer_file):
        shutil.copyfile(file, work / file.name)
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")
    verify(work, loaded, plan.layer_file)


def write_weights(work: Path, loaded: Loaded) -> None:
    """model.safetensors (sharded when large): each tensor once, tied ones under their own name only."""
    model = loaded.model
    state: dict[str, Tensor] = dict(model.state_dict())
    for tied, kept in getattr(model, "all_tied_weights_keys", {}).items():
        if kept in state:
            state.pop(tied, None)
    state = {k: t.contiguous() for k, t in state.items() if k not in loaded.absent} | loaded.extra
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


def verify(work: Path, loaded: Loaded, layer_file: Path = remote_code.MODELING) -> None:
    """Reload what was written and compare: every tensor and, for models of text, every output, bit for bit.

    Raises FactcliError naming what differs.
    """
    expected = loaded.model
    model_class = (
        type(expected)
        if isinstance(expected, modeling_factorized.FactorizedModel)
        else factorized_class(type(expected), layer_file)
    )
    both: Any = model_class.from_pretrained(work, dtype="auto", local_files_only=True, output_loading_info=True)
    reloaded, info = both
    lost = set(info["missing_keys"]) - loaded.absent
    if lost:
        raise FactcliError(f"The export does not reload: {sorted(lost)[0]} is missing; please report this.")
    _initialize_absent(reloaded, expected, loaded.absent)
    written = reloaded.state_dict()
    for name, tensor in expected.state_dict().items():
        if name not in loaded.absent and not torch.equal(tensor, written[name]):
            raise FactcliError(f"The export does not reload: {name} differs; please report this.")
    inputs = sample_inputs(expected)
    if inputs:
        for parameter in (p for model in (expected, reloaded) for p in model.parameters()):
            parameter.data = parameter.data.clone()  # mapped files are aligned as they come, and kernels differ by it
        with torch.inference_mode():
            for a, b in zip(_tensors(expected(**inputs)), _tensors(reloaded.eval()(**inputs)), strict=True):
                if not torch.equal(a, b):
                    raise FactcliError("The export does not reload: its outputs differ; please report this.")


def _initialize_absent(reloaded: nn.Module, expected: nn.Module, absent: set[str]) -> None:
    # Heads that the source itself lacks are random on both sides: compare them on the same values.
    source, target = expected.state_dict(), reloaded.state_dict()
    with torch.no_grad():
        for name in absent & source.keys() & target.keys():
            target[name].copy_(source[name])


def sample_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """A fixed little batch for a model of text, (1, 8); empty for other models."""
    config = model.config.get_text_config()
    if model.main_input_name != "input_ids" or not getattr(config, "vocab_size", None):
        return {}
    ids = torch.arange(8).unsqueeze(0) * 37 % config.vocab_size
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if eos is not None and eos < config.vocab_size:  # some heads pool at the one end-of-sequence token
        ids[ids == eos] = (eos + 1) % config.vocab_size
        ids[0, -1] = eos
    if type(model).__name__.endswith("ForMultipleChoice"):
        ids = ids.unsqueeze(1)  # (1, choices, tokens)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    return inputs


def _tensors(output: Any) -> list[Tensor]:
    return [value for value in output.values() if isinstance(value, Tensor)]


def load(path: str | Path) -> PreTrainedModel:
    """A factorized model (a directory or Hub id) in its own class, with factcli's code: none of its own is run.

    Raises FactcliError where it is not a factorized model, or of a newer format.
    """
    source = find_source(str(path), accept_factorized=True)
    if not source.factorized:
        raise FactcliError(f"{path} is not a factorized model: make one with 'factcli convert'.")
    register(source)
    model: PreTrainedModel = source.model_class.from_pretrained(source.path, local_files_only=True)
    return model


def register(source: Source) -> None:
    """Make the Auto classes and pipelines of this process know a factorized architecture."""
    config_class = type(source.config)
    transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    code = remote_code.module(layer_file_of(source.raw))
    for auto, reference in auto_map(source.native_config_class).items():
        if auto != "AutoConfig":
            head = getattr(code, reference.partition(".")[2])
            getattr(transformers, auto).register(config_class, head, exist_ok=True)
