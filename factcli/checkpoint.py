"""An export: what is in a directory that reloads anywhere; written, reloaded and compared."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from . import remote_code
from .errors import FactcliError
from .models import carried, tokenizers
from .models.carried import Survey
from .models.machine import portable_config
from .models.own_code import without_models
from .plan import Plan
from .remote_code import configuration_factorized, modeling_factorized
from .remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from .source import Loaded, Source, factorized_class, find_source, native_type

MAX_SHARD_SIZE = "5GB"


def auto_map(config_class: type[PretrainedConfig]) -> dict[str, str]:
    """AutoConfig, AutoModel and every head of a native architecture -> `module.Class` in the exported files."""
    entries = {"AutoConfig": f"configuration_factorized.{PREFIX}{config_class.__name__}"}
    for name in sorted(dir(transformers)):
        if not name.startswith("AutoModel") or not hasattr(auto := getattr(transformers, name), "_model_mapping"):
            continue
        found = auto._model_mapping._model_mapping.get(config_class.model_type)
        native = found[0] if isinstance(found, (list, tuple)) else found
        if native and hasattr(transformers, native):
            entries[name] = f"modeling_factorized.{PREFIX}{native}"
    return entries


def auto_class(source: Source, model_class: type[PreTrainedModel]) -> str:
    """The Auto class that gives a model of `model_class` (native or ours) back."""
    wanted = f"modeling_factorized.{PREFIX}{model_class.__name__.removeprefix(PREFIX)}"
    names = [name for name, reference in auto_map(source.native_config_class).items() if reference == wanted]
    return next((n for n in names if n != "AutoModelForPreTraining"), "AutoModel")


def export_config(
    source: Source, plan: Plan, model_class: type[PreTrainedModel], changes: dict[str, Any]
) -> dict[str, Any]:
    """config.json: the source's, word for word but for what is of another machine, with our model type, auto_map, the
    plan, and `changes`."""
    return carried_config(source) | {
        "model_type": f"factorized_{source.native_config_class.model_type}",
        "architectures": [PREFIX + model_class.__name__.removeprefix(PREFIX)],
        "auto_map": carried_auto_map(source) | auto_map(source.native_config_class),
        "factorization": {
            "format_version": FORMAT_VERSION,
            "layers": [layer.to_json() for layer in plan.layers],
        },
        **changes,
    }


def carried_config(source: Source) -> dict[str, Any]:
    """What a config.json made from that of `source` takes from it: all but what belongs to the machine it was made on,
    and code of its own that is not trusted."""
    values = portable_config(source.raw)
    return values if source.trusted else {k: v for k, v in values.items() if k != "custom_pipelines"}


def carried_auto_map(source: Source) -> dict[str, Any]:
    """The classes of tokenizers and processors that the source's config.json names, where their code is trusted."""
    return without_models(source.raw.get("auto_map")) if source.trusted else {}


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
    write_small_files(work, source, export_config(source, plan, type(loaded.model), changes))
    write_weights(work, loaded)
    for file in remote_code.FILES:
        shutil.copyfile(file, work / file.name)
    for name, text in texts.items():
        (work / name).write_text(text, encoding="utf-8")
    verify(work, loaded)


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


def write_small_files(work: Path, source: Source, config: dict[str, Any]) -> None:
    """All of an export of `source` but weights, code and what is said of it; `config` is its config.json."""
    copy_small_files(source, work)
    write_json(work / "config.json", config)
    ours = getattr(configuration_factorized, PREFIX + source.native_config_class.__name__)
    tokenizers.settle(source.path, source.config, work, ours.from_dict(copy.deepcopy(config)), source.trusted)


def copy_small_files(source: Source, work: Path) -> None:
    """Everything that a loader of the source reads beside config.json and the weights: see `models.carried`."""
    found = look_at_files(source)
    carried.copy(found, source.path, work, source.trusted)
    tokenizers.name_classes(work, native_type(source.raw), source.raw)


def look_at_files(source: Source) -> Survey:
    """What an export takes from a source that is here. Raises FactcliError where none can be made, before any work."""
    found = carried.survey_directory(source.path, source.name, source.trusted)
    carried.check(found, source.path)
    return found


def write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def verify(work: Path, loaded: Loaded) -> None:
    """Reload what was written and compare: every tensor and, for models of text, every output, bit for bit.

    Raises FactcliError naming what differs.
    """
    expected = loaded.model
    model_class = (
        type(expected)
        if isinstance(expected, modeling_factorized.FactorizedModel)
        else factorized_class(type(expected))
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
    model: PreTrainedModel = source.model_class.from_pretrained(
        source.path, config=source.config, local_files_only=True
    )
    return model


def register(source: Source) -> None:
    """Make the Auto classes and pipelines of this process know a factorized architecture."""
    config_class = type(source.config)
    transformers.AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    for auto, reference in auto_map(source.native_config_class).items():
        if auto != "AutoConfig":
            head = getattr(modeling_factorized, reference.partition(".")[2])
            getattr(transformers, auto).register(config_class, head, exist_ok=True)
