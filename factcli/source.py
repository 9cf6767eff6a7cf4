"""The model to work on: from a Hub id or a directory to a dense model."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from . import remote_code
from .errors import FactcliError
from .hub.download import fetch
from .remote_code import configuration_factorized
from .remote_code.configuration_factorized import FORMAT_VERSION, PREFIX

INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Source:
    """A model by name: `path` is a local directory with its files, `raw` its config.json as written.

    `model_class` is the native class of a dense model, ours of a factorized one. `repo_id` and `revision` (a commit)
    are set where it came from the Hub.
    """

    name: str
    path: Path
    raw: dict[str, Any]
    config: PretrainedConfig
    model_class: type[PreTrainedModel]
    repo_id: str | None = None
    revision: str | None = None

    @property
    def factorized(self) -> bool:
        return "factorization" in self.raw

    @property
    def native_config_class(self) -> type[PretrainedConfig]:
        """transformers' own configuration class, also of a factorized model."""
        found: type[PretrainedConfig] = CONFIG_MAPPING[native_type(self.raw)]
        return found

    @property
    def dtype(self) -> str:
        """What the weights are saved in, as far as the configuration says."""
        return str(self.raw.get("dtype") or self.raw.get("torch_dtype") or "float32").removeprefix("torch.")

    @property
    def reference(self) -> str:
        """What `find_source` finds it by again, at the same commit."""
        return f"{self.repo_id}@{self.revision}" if self.repo_id and self.revision else self.name

    def provenance(self) -> dict[str, Any]:
        """Where it came from, without paths of this machine."""
        if self.repo_id:
            return {"model": self.repo_id, "revision": self.revision}
        return {"model": Path(os.path.abspath(self.path)).name, "revision": None}


@dataclass
class Loaded:
    """A loaded model. `absent` are tensors that the checkpoint lacks, `extra` those that only it has."""

    model: PreTrainedModel
    absent: set[str] = field(default_factory=set)
    extra: dict[str, Tensor] = field(default_factory=dict)


def find_source(
    name: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    weights: bool = True,
    accept_factorized: bool = False,
) -> Source:
    """Resolve MODEL (a directory, a Hub id, `id@revision`); with `weights`, its weight files are there and whole.

    A factorized model whose Python files are this package's is read with the installed ones. Other files of its own
    are run with `trust_remote_code` only.

    Raises FactcliError for whatever a user can put right.
    """
    path, repo_id, commit = locate(name, revision, weights)
    raw = read_config(path)
    kind = native_type(raw)
    factorized = "factorization" in raw
    if factorized and not accept_factorized:
        raise FactcliError(f"{name} is already factorized: convert the dense model it came from.")
    if factorized and raw["factorization"].get("format_version", 0) > FORMAT_VERSION:
        raise FactcliError(f"{name} was made by a newer factcli: upgrade to read it.")
    if "quantization_config" in raw:
        raise FactcliError(f"{name} is quantized: take the full-precision model it came from.")
    foreign = remote_code.foreign_code(path) if factorized else None
    if foreign and not trust_remote_code:
        raise FactcliError(
            f"{name} has a {foreign} that is not factcli's: read it, then give --trust-remote-code to run it."
        )
    if kind not in CONFIG_MAPPING:
        raise FactcliError(_unknown_type(name, raw, trust_remote_code))
    try:
        if foreign:
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=True)
        elif factorized:
            config_class = getattr(configuration_factorized, PREFIX + CONFIG_MAPPING[kind].__name__)
            config = config_class.from_pretrained(path, local_files_only=True)
        else:
            config = AutoConfig.from_pretrained(path, local_files_only=True)
    except Exception as error:  # a configuration is refused by whatever class reads it
        raise FactcliError(f"{name} has a config.json that transformers refuses: {_line(error)}") from error
    if weights:
        weight_files(path, name)
    model_class = _foreign_class(raw, path, name) if foreign else _model_class(raw, config, name)
    return Source(name, path, raw, config, model_class, repo_id, commit)


def locate(name: str, revision: str | None = None, weights: bool = True) -> tuple[Path, str | None, str | None]:
    """The directory of MODEL, fetched where it is a Hub id; the id and the commit where it is.

    Raises FactcliError where there is none.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path, None, None
    if name.startswith((".", "/", "~")) or path.exists():
        raise FactcliError(f"{name} is not a directory: give one that holds config.json, or a Hub id.")
    repo_id, _, at = name.partition("@")
    path, commit = fetch(repo_id, at or revision, weights)
    return path, repo_id, commit


def native_type(raw: dict[str, Any]) -> str:
    """transformers' own model type in a config.json, also of a factorized model."""
    return str(raw.get("model_type", "")).removeprefix("factorized_")


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a model directory. Raises FactcliError where there is none that can be read."""
    try:
        raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FactcliError(f"{path} has no config.json: give a directory saved by save_pretrained.") from error
    except (OSError, ValueError) as error:
        raise FactcliError(f"{path / 'config.json'} cannot be read as JSON: {_line(error)}") from error
    if not isinstance(raw, dict):
        raise FactcliError(f"{path / 'config.json'} is not a JSON object.")
    return raw


def _unknown_type(name: str, raw: dict[str, Any], trusted: bool) -> str:
    kind = raw.get("model_type")
    if "auto_map" not in raw:
        return f"{name} has model_type {kind!r}, which transformers {transformers.__version__} does not know."
    if not trusted:
        return (
            f"{name} needs code of its own repository, which is not run without --trust-remote-code; "
            "note that only architectures within transformers can be exported."
        )
    return f"{name} is an architecture outside transformers ({kind!r}): an export cannot subclass it."


def _model_class(raw: dict[str, Any], config: PretrainedConfig, name: str) -> type[PreTrainedModel]:
    for architecture in raw.get("architectures") or []:
        found = getattr(transformers, str(architecture).removeprefix(PREFIX), None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            break
    else:
        found = native_head(CONFIG_MAPPING[native_type(raw)], "AutoModel")
        if found is None:
            raise FactcliError(f"{name} has model_type {config.model_type!r}, which has no base model class.")
    return factorized_class(found, layer_file_of(raw)) if "factorization" in raw else found


def layer_file_of(raw: dict[str, Any]) -> Path:
    """The module of layers that the config.json of a factorized model names."""
    return remote_code.named(str(raw.get("auto_map", {}).get("AutoModel")).partition(".")[0])


def _foreign_class(raw: dict[str, Any], path: Path, name: str) -> type[PreTrainedModel]:
    """The model class of a directory's own code, which is run."""
    try:
        wanted = raw["architectures"][0]
        reference = next(r for r in raw["auto_map"].values() if r.endswith(f".{wanted}"))
        return get_class_from_dynamic_module(reference, path)
    except (KeyError, IndexError, StopIteration, OSError, ValueError, AttributeError, ImportError) as error:
        raise FactcliError(f"{name} has code of its own that does not give its model class: {_line(error)}") from error


def native_head(config_class: type[PretrainedConfig], auto: str) -> type[PreTrainedModel] | None:
    """The class that an Auto class (such as "AutoModelForSequenceClassification") takes for a native configuration."""
    found: Any = getattr(transformers, auto)._model_mapping.get(config_class, None)
    head: type[PreTrainedModel] | None = found[0] if isinstance(found, (list, tuple)) else found
    return head


def factorized_class(native: type[PreTrainedModel], layer_file: Path = remote_code.MODELING) -> type[PreTrainedModel]:
    """Our subclass of a native model class, for models whose layers `layer_file` has."""
    found: type[PreTrainedModel] = getattr(remote_code.module(layer_file), PREFIX + native.__name__)
    return found


def weight_files(path: Path, name: str) -> list[Path]:
    """The safetensors files of a model directory, each opened once. Raises FactcliError if any is missing or cut."""
    if (path / INDEX).is_file():
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            files = [path / f for f in sorted(set(index["weight_map"].values()))]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FactcliError(f"{path / INDEX} cannot be read: fetch the model again.") from error
    else:
        files = [path / "model.safetensors"]
    for file in files:
        if not file.is_file():
            if any(f.suffix in _PICKLES for f in path.iterdir()) and len(files) == 1:
                raise FactcliError(
                    f"{name} has only pickled weights, which are not read: save it again with safe_serialization, "
                    "or use a revision with model.safetensors."
                )
            raise FactcliError(f"{name} has no weights: {file.name} is missing.")
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise FactcliError(f"{file} is damaged or cut short ({_line(error)}): fetch it again.") from error
    return files


def load_model(source: Source, model_class: type[PreTrainedModel] | None = None) -> Loaded:
    """The model of `source` in its own class (or `model_class`, another head) and dtype, on the CPU, not training.

    Raises FactcliError for missing targets' weights, wrong shapes, and a NaN or infinity in any tensor.
    """
    model_class = model_class or source.model_class
    try:
        loaded: Any = model_class.from_pretrained(
            source.path, config=source.config, dtype="auto", local_files_only=True, output_loading_info=True
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise FactcliError(f"{source.name} cannot be loaded as {model_class.__name__}: {_line(error)}") from error
    model, info = loaded
    absent: set[str] = set(info["missing_keys"])
    prefix = f"{model.base_model_prefix}."
    in_blocks = sorted(k for k in absent if any(p.isdigit() for p in k.removeprefix(prefix).split(".")))
    if in_blocks:
        raise FactcliError(
            f"{source.name} lacks {len(in_blocks)} weights of its blocks, such as {in_blocks[0]}: fetch it again."
        )
    unexpected = set(info["unexpected_keys"])
    extra: dict[str, Tensor] = {}
    for file in weight_files(source.path, source.name) if unexpected else []:
        with safe_open(file, "pt") as tensors:
            extra |= {k: tensors.get_tensor(k) for k in tensors.keys() if k in unexpected}  # noqa: SIM118
    extra = {k: t for k, t in extra.items() if t.is_floating_point()}
    for name, tensor in [*model.state_dict().items(), *extra.items()]:
        if name not in absent and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FactcliError(f"{source.name} has NaN or infinite values in {name}: repair or retrain it first.")
    return Loaded(model.eval(), absent, extra)


def load_meta(source: Source) -> PreTrainedModel:
    """The model of `source` without weights, on the meta device."""
    with torch.device("meta"):
        return source.model_class(source.config)


def count_parameters(model: torch.nn.Module) -> int:
    """Parameters of a model, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
