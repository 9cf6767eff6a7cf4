"""The model to work on: from a Hub id or a directory to a dense model."""

import json
import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.configuration_utils import get_configuration_file
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from . import remote_code
from .errors import FactcliError, UsageError
from .files import recover_missing
from .hub.download import Read, fetch, listed_files
from .models import carried
from .models.machine import without_implementations
from .models.own_code import is_native, references
from .models.precision import load_on_meta
from .models.weights import ADAPTER, FILE, FLOATS, INDEX, Weights, adapter_sentence, read_weights
from .notes import note
from .options import without_effect
from .remote_code import configuration_factorized
from .remote_code.configuration_factorized import FORMAT_VERSION, PREFIX


@dataclass(frozen=True)
class Source:
    """A model by name: `path` is a local directory with its files, `raw` its config.json as written.

    `model_class` is the native class of a dense model, ours of a factorized one. `repo_id` and `revision` (a commit)
    are set where it came from the Hub; `trusted` says that code of its own may be run, and taken into an export.
    `weights` are what its files hold, None where they were not asked for and are not here.
    """

    name: str
    path: Path
    raw: dict[str, Any]
    config: PretrainedConfig
    model_class: type[PreTrainedModel]
    repo_id: str | None = None
    revision: str | None = None
    trusted: bool = False
    weights: Weights | None = None

    @property
    def factorized(self) -> bool:
        return "factorization" in self.raw

    @property
    def native_config_class(self) -> type[PretrainedConfig]:
        """transformers' own configuration class, also of a factorized model."""
        found: type[PretrainedConfig] = CONFIG_MAPPING[native_type(self.raw)]
        return found

    @property
    def stored(self) -> Weights:
        """What its weight files hold, of a source that was found with its weights."""
        assert self.weights is not None
        return self.weights

    @property
    def dtype(self) -> str:
        """What transformers loads it in: what the configuration says, else the type of its first tensor."""
        said: Any = getattr(self.config, "dtype", None)
        said = said.get("") if isinstance(said, dict) else said
        found = said or (self.weights.dtype if self.weights is not None else None) or torch.float32
        return str(found).removeprefix("torch.")

    @cached_property
    def outline(self) -> "Loaded":
        """The model without values, as transformers loads it. Raises as `load_meta`."""
        return load_meta(self)

    def outline_in(self, dtype: torch.dtype) -> "Loaded":
        """The same in another precision."""
        return self.outline if str(dtype).removeprefix("torch.") == self.dtype else load_meta(self, dtype)

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

    def written(self) -> dict[str, Tensor]:
        """What is written of the model itself: each tensor once, tied ones under their own name only, and nothing that
        the source lacks."""
        state: dict[str, Tensor] = dict(self.model.state_dict())
        for tied, kept in getattr(self.model, "all_tied_weights_keys", {}).items():
            if kept in state:
                state.pop(tied, None)
        return {name: tensor for name, tensor in state.items() if name not in self.absent}


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
    path, repo_id, commit = locate(name, revision, weights, trust_remote_code)
    if (path / ADAPTER).is_file():
        raise FactcliError(adapter_sentence(path, name))
    raw = read_config(path)
    kind = native_type(raw)
    factorized = "factorization" in raw
    if factorized and not accept_factorized:
        raise FactcliError(f"{name} is already factorized: convert the dense model it came from.")
    if factorized and raw["factorization"].get("format_version", 0) > FORMAT_VERSION:
        raise FactcliError(f"{name} was made by a newer factcli: upgrade to read it.")
    if "quantization_config" in raw:
        raise FactcliError(f"{name} is quantized: take the full-precision model it came from.")
    foreign = remote_code.foreign_code(path, _module(raw)) if factorized else None
    if foreign and not trust_remote_code:
        raise FactcliError(
            f"{name} has a {foreign} that is not factcli's: read it, then give --trust-remote-code "
            "(in Python trust_remote_code=True) to run it."
        )
    if kind not in CONFIG_MAPPING:
        raise FactcliError(_unknown_type(name, raw, trust_remote_code))
    if not factorized:
        _look_at_own_code(raw, name)
    try:
        if foreign:
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=True)
        else:
            native = CONFIG_MAPPING[kind]
            config_class = getattr(configuration_factorized, PREFIX + native.__name__) if factorized else native
            config = config_class.from_dict(without_implementations(raw))
    except Exception as error:  # a configuration is refused by whatever class reads it
        raise FactcliError(f"{name} has a config.json that transformers refuses: {_line(error)}") from error
    stored = _stored(path, name, raw, repo_id, commit, weights)
    model_class = _foreign_class(raw, path, name) if foreign else _model_class(raw, config, name)
    return Source(name, path, raw, config, model_class, repo_id, commit, trust_remote_code, stored)


def _stored(
    path: Path, name: str, raw: dict[str, Any], repo_id: str | None, commit: str | None, wanted: bool
) -> Weights | None:
    """What the weight files hold; where they are not `wanted`, only if they are here anyway."""
    here = any((path / file).is_file() for file in (FILE, INDEX, str(raw.get("transformers_weights"))))
    if wanted:
        return read_weights(path, name, raw, listed_files(repo_id, commit) if repo_id and not here else ())
    try:
        return read_weights(path, name, raw) if here else None
    except FactcliError:
        if repo_id is None:
            raise
        return None  # the Hub's cache may hold a part of them


def locate(
    name: str, revision: str | None = None, weights: bool = True, trusted: bool = False
) -> tuple[Path, str | None, str | None]:
    """The directory of MODEL, fetched where it is a Hub id; the id and the commit where it is.

    Of a repository comes config.json alone, or with `weights` all that makes up the model, with code of its own where
    it is `trusted`. Raises FactcliError where there is none, UsageError for a revision of a directory.
    """
    path = Path(name).expanduser()
    recover_missing(path)
    if path.is_dir():
        if revision is not None:
            raise without_effect("--revision", f"with {name}, a directory", "give a Hub id")
        return path, None, None
    if name.startswith((".", "/", "~")) or path.exists():
        raise FactcliError(f"{name} is not a directory: give one that holds config.json, or a Hub id.")
    repo_id, _, at = name.partition("@")
    if at and revision is not None and at != revision:
        raise UsageError(f"{name} names a revision, and --revision {revision} another one: leave one of them out.")

    def wanted(names: Collection[str], read: Read) -> set[str]:
        found = carried.survey(repo_id, names, read, trusted)
        return carried.parts(found, names, read) | {carried.ADAPTER}  # which says whether the weights are whole

    path, commit = fetch(repo_id, at or revision, wanted if weights else None)
    return path, repo_id, commit


def native_type(raw: dict[str, Any]) -> str:
    """transformers' own model type in a config.json, also of a factorized model."""
    return str(raw.get("model_type", "")).removeprefix("factorized_")


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a model directory, or the file for this version of transformers that it names instead.

    Raises FactcliError where there is none that can be read.
    """
    file = path / "config.json"
    raw = _read_object(file)
    versions = raw.get("configuration_files")
    other = get_configuration_file([str(v) for v in versions]) if isinstance(versions, list) else file.name
    return raw if other == file.name else _read_object(path / other)


def _read_object(file: Path) -> dict[str, Any]:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FactcliError(_no_config(file)) from error
    except (OSError, ValueError) as error:
        raise FactcliError(f"{file} cannot be read as JSON: {_line(error)}") from error
    if not isinstance(raw, dict):
        raise FactcliError(f"{file} is not a JSON object.")
    return raw


def _no_config(file: Path) -> str:
    found = sorted(file.parent.glob("*/config.json"))
    inner = [p.parent.name for p in found if '"model_type"' in p.read_text(encoding="utf-8", errors="replace")]
    if inner and (file.parent / "modules.json").is_file():
        return (
            f"{file.parent} has no {file.name}, as its modules lie in directories of their own: convert that of a "
            f"transformer ({', '.join(inner)}), put the export in its place and its two Python files at the top."
        )
    return f"{file.parent} has no {file.name}: give a directory saved by save_pretrained."


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


def _look_at_own_code(raw: dict[str, Any], name: str) -> None:
    """Code that the files of a native type name for the model is never run. Where it is an architecture that
    transformers has by now, that stands in for it, which is said; else it computes what only that code knows."""
    own = references(raw, of_models=True)
    if not own:
        return
    classes = [r.text.rpartition(".")[2] for r in own]
    wanted = [str(a) for a in raw.get("architectures") or [c for c in classes if not c.endswith("Config")][:1]]
    code = ", ".join(sorted({r.file if r.repository is None else r.text.rpartition(".")[0] for r in own}))
    if wanted and not is_native(wanted[0]):
        raise FactcliError(
            f"{name} is a model by code of its own ({wanted[0]} in {code}), which an export cannot take over: if "
            'its weights are those of a class of transformers, name that class under "architectures" in config.json.'
        )
    note(
        f"{name} has code of its own for the model ({code}), which is not run: the class of transformers stands in for "
        "it. Where that code computes something else, so does what is made here."
    )


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
    return remote_code.named(_module(raw))


def _module(raw: dict[str, Any]) -> str:
    """The name of the module that the config.json of a factorized model names for its classes."""
    named = raw.get("auto_map")
    reference = named.get("AutoModel") if isinstance(named, dict) else None
    return str(reference or "").rpartition("--")[2].partition(".")[0]


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


def load_model(
    source: Source, model_class: type[PreTrainedModel] | None = None, dtype: torch.dtype | None = None
) -> Loaded:
    """The model of `source` in its own class (or `model_class`, another head) and precision (or `dtype`), as
    transformers loads it, on the CPU, not training.

    Raises FactcliError for weights that are missing in its blocks, do not fit config.json or are quantized, and for a
    NaN or infinity in any tensor.
    """
    model_class, stored = model_class or source.model_class, source.stored
    wanted = dtype or getattr(torch, source.dtype)
    given: dict[str, Any] = {"state_dict": stored.read(stored.tensors)} if stored.wrapped else {}
    try:
        loaded: Any = model_class.from_pretrained(
            None if given else source.path, config=source.config, dtype=wanted, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True, **given,
        )  # fmt: skip
    except Exception as error:  # files are refused by whatever reads them, in ways of its own
        raise FactcliError(f"{source.name} cannot be loaded as {model_class.__name__}: {_line(error)}") from error
    model, info = loaded
    absent, unused = _fitting(source, model, info)
    for name, tensor in model.state_dict().items():
        if name not in absent and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FactcliError(_not_finite(source, name, tensor.dtype))
    return Loaded(model.eval(), absent, stored.read(unused))


def bare_model(source: Source) -> PreTrainedModel:
    """The class of `source` as its configuration describes it, on the meta device, whatever weights there are."""
    with torch.device("meta"):
        return source.model_class(source.config)


def load_meta(source: Source, dtype: torch.dtype | None = None) -> Loaded:
    """The same without values, on the meta device; from the configuration alone where `source` has no weights.

    Raises FactcliError for weights that do not fit.
    """
    wanted = dtype or getattr(torch, source.dtype)
    with torch.device("meta"):
        state = source.weights.on_meta() if source.weights else bare_model(source).state_dict()
    try:
        model, info = load_on_meta(source.model_class, source.config, state, wanted)
    except Exception as error:  # files are refused by whatever reads them, in ways of its own
        line = _line(error)
        raise FactcliError(f"{source.name} cannot be loaded as {source.model_class.__name__}: {line}") from error
    if source.weights is None:
        return Loaded(model)
    absent, unused = _fitting(source, model, info)
    for tied, kept in dict(getattr(model, "all_tied_weights_keys", {})).items():  # without values all look the same
        if not _same_in_files(source.weights, tied, kept, f"{model.base_model_prefix}.", wanted):
            del model.all_tied_weights_keys[tied]
    return Loaded(model, absent, {name: state[name] for name in unused})


def _same_in_files(weights: Weights, tied: str, kept: str, base: str, dtype: torch.dtype) -> bool:
    """Whether two tensors that the configuration ties are one, or equal, in the files."""
    found = [next((n for n in _spellings(name, base) if n in weights.tensors), None) for name in (tied, kept)]
    if None in found or weights.tensors[str(found[0])].shape != weights.tensors[str(found[1])].shape:
        return True
    a, b = weights.read({str(n) for n in found}).values()
    return torch.equal(a.to(dtype), b.to(dtype))


def _spellings(name: str, base: str) -> tuple[str, str, str]:
    """How a tensor may be called in a file: with the base model's name before it, or without."""
    return name, base + name, name.removeprefix(base)


def _fitting(source: Source, model: PreTrainedModel, info: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Names of tensors that the files lack, and of those that only they have; from what transformers said when it
    loaded them. Raises FactcliError where they do not belong to the configuration."""
    stored, state = source.stored, model.state_dict()
    base = f"{model.base_model_prefix}."
    own = {n for name in state for n in _spellings(name, base)}
    for name, tensor in stored.tensors.items():
        if tensor.dtype not in FLOATS and name in own and _of(state, name, base).is_floating_point():
            raise FactcliError(
                f"{source.name} has {name} as {tensor.dtype}, quantized in a way that config.json does not tell: take "
                "the full-precision model it came from."
            )
    for name, there, expected in sorted(info["mismatched_keys"], key=lambda found: str(found[0])):
        raise FactcliError(
            f"{source.name} has {name} of shape {_shape(there)} in its weights, and {_shape(expected)} by config.json: "
            "correct config.json, or take the weights that belong to it."
        )
    absent, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    lacking = sorted(name for name in absent if _in_blocks(name.removeprefix(base)))
    if lacking:
        prefix = _other_prefix(stored, [name.removeprefix(base) for name in lacking])
        if prefix is not None and prefix != base:
            raise FactcliError(
                f"{source.name} has weights named {prefix}{lacking[0].removeprefix(base)}, where "
                f"{type(model).__name__} has {lacking[0]}: take {prefix!r} off and give what save_pretrained writes."
            )
        raise FactcliError(
            f"{source.name} lacks {len(lacking)} weights of its blocks that config.json asks for, such as "
            f"{lacking[0]}: fetch it again, or correct config.json."
        )
    forms = {_form(name) for name in state if _in_blocks(name)}
    further = sorted(name for name in unexpected if _form(name) in forms)
    if further:
        raise FactcliError(
            f"{source.name} has weights of more blocks than config.json says, such as {further[0]}: correct the number "
            "of layers there, or give what save_pretrained writes."
        )
    # What a class is told to ignore may be of use to another head; what it computes itself is not.
    ignored = [re.compile(p) for p in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    unexpected |= {n for n in stored.tensors if n not in own and any(p.search(n) for p in ignored)}
    computed = {name.removeprefix(base) for name, _ in model.named_buffers()} - {n.removeprefix(base) for n in state}
    unused = {n for n in stored.tensors if n in unexpected or _renamed(n) in unexpected}
    return absent, {n for n in unused if n.removeprefix(base) not in computed}


def _of(state: dict[str, Tensor], name: str, base: str) -> Tensor:
    return next(state[n] for n in _spellings(name, base) if n in state)


def _renamed(name: str) -> str:
    """A name of the first checkpoints as transformers reads it."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _in_blocks(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _form(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", f".{name}")


def _other_prefix(stored: Weights, lacking: list[str]) -> str | None:
    """What the files have before the names that are lacking, if it is the same for most of them."""
    found = Counter(
        name.removesuffix(wanted) for wanted in lacking for name in stored.tensors if name.endswith(f".{wanted}")
    )
    prefix, times = found.most_common(1)[0] if found else ("", 0)
    return prefix if 2 * times > len(lacking) else None


def _shape(shape: Any) -> str:
    return " x ".join(map(str, shape))


def _not_finite(source: Source, name: str, dtype: torch.dtype) -> str:
    found = source.stored.tensors.get(name)
    if found is not None and FLOATS.get(found.dtype, dtype) != dtype:
        values = source.stored.read({name})[name]
        if bool(torch.isfinite(values).all()):
            said = str(dtype).removeprefix("torch.")
            return (
                f"{source.name} has values in {name} that are too large for {said}, in which config.json has it "
                'loaded: write "dtype": "float32" there.'
            )
    return f"{source.name} has NaN or infinite values in {name}: repair or retrain it first."


def count_parameters(model: torch.nn.Module) -> int:
    """Parameters of a model, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
