"""The model to work on, found once: from a Hub id or a directory."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from .. import remote_code
from ..errors import FactcliError, one_line
from ..files.digests import digest_of_files, digest_of_values
from ..hub.contents import ADAPTER
from ..hub.download import listed_files
from ..notes import note
from ..remote_code import configuration_factorized
from ..remote_code.configuration_factorized import FORMAT_VERSION, PREFIX
from . import carried
from .carried import Survey
from .embeddings import token_embedding
from .loading import Loaded, load_meta, load_model
from .locating import locate, native_type, read_config
from .machine import without_implementations
from .own_code import is_native, own_tokenizer, references
from .targets import Target, find_targets
from .weights import FILE, INDEX, Weights, adapter_sentence, read_weights


@dataclass(frozen=True)
class Model:
    """A model by name: `path` is a local directory with its files, `raw` its config.json as written.

    `model_class` is the native class of a dense model, ours of a factorized one. `repo_id` and `revision` (a commit)
    are set where it came from the Hub; `trusted` says that code of its own may be run, and taken into an export.
    `weights` are what its files hold, None where they were not asked for and are not here. `origin` is the model that
    this one is, with a smaller vocabulary and in a place of its own.
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
    origin: "Model | None" = None

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
    def outline(self) -> Loaded:
        """The model without values, as transformers loads it. Raises as `load_meta`."""
        return load_meta(self)

    def outline_in(self, dtype: torch.dtype) -> Loaded:
        """The same in another precision."""
        return self.outline if str(dtype).removeprefix("torch.") == self.dtype else load_meta(self, dtype)

    def targets(
        self, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), embeddings: bool = False
    ) -> list[Target]:
        """The matrices that may be factorized, of those that the patterns leave; with `embeddings` that of the tokens
        as well. Raises as `find_targets` and `token_embedding`."""
        embedding = token_embedding(self.outline) if embeddings else None
        return find_targets(self.outline.model.base_model, include, exclude, embedding)

    def load(self, dtype: torch.dtype | None = None) -> Loaded:
        """The model with its values. Raises as `load_model`."""
        return load_model(self, dtype)

    @cached_property
    def files(self) -> Survey:
        """What an export takes from a model that is here. Raises FactcliError where none can be made, before any
        work."""
        found = carried.survey_directory(self.path, self.name, self.trusted)
        carried.check(found, self.path)
        return found

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its code is run where it is trusted. Raises FactcliError where there is none."""
        own = [] if self.trusted else own_tokenizer(self.path)
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.path,
                config=self.config,
                local_files_only=not self.trusted,  # its code may be in another repository
                trust_remote_code=self.trusted,
            )
        except Exception as error:  # tokenizers fail in as many ways as there are kinds of them
            if own:  # transformers may have tried another class in its place
                raise FactcliError(
                    f"{self.name} has a tokenizer with code of its own: read it, then give --trust-remote-code to run "
                    "it."
                ) from error
            reason = " ".join(str(error).split())[:200]
            raise FactcliError(
                f"{self.name} has no tokenizer that can be read: put tokenizer.json and its like beside the model "
                f"({reason})."
            ) from error
        if own:
            note(
                f"{self.name} has a tokenizer with code of its own ({own[0].file}), which is not run without "
                f"--trust-remote-code: {type(tokenizer).__name__} stands in for it."
            )
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            raise FactcliError(f"{self.name} has no tokenizer: put tokenizer.json and its like beside the model.")
        found: PreTrainedTokenizerBase = tokenizer
        return found

    @property
    def rows(self) -> int:
        """Of its table of tokens, as far as it has one."""
        table: Any = self.outline.model.get_input_embeddings()
        return len(table.weight)

    @property
    def digest(self) -> str:
        """Of weights, configuration and code; of a model of the Hub its commit, which says the same."""
        if self.repo_id and self.revision and self.origin is None:
            return f"{self.repo_id}@{self.revision}"
        files = [*self.stored.files, *sorted(self.path.glob("*.py"))]
        return digest_of_values([json.dumps(self.raw, sort_keys=True), digest_of_files(files)])

    @property
    def reference(self) -> str:
        """What `find_model` finds it by again, at the same commit."""
        return f"{self.repo_id}@{self.revision}" if self.repo_id and self.revision else self.name

    def provenance(self) -> dict[str, Any]:
        """Where it came from, without paths of this machine."""
        if self.origin is not None:
            return self.origin.provenance()
        if self.repo_id:
            return {"model": self.repo_id, "revision": self.revision}
        return {"model": Path(os.path.abspath(self.path)).name, "revision": None}


def find_model(
    name: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    weights: bool = True,
    accept_factorized: bool = False,
) -> Model:
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
        raise FactcliError(f"{name} has a config.json that transformers refuses: {one_line(error)}") from error
    stored = _stored(path, name, raw, repo_id, commit, weights)
    model_class = _foreign_class(raw, path, name) if foreign else _model_class(raw, config, name)
    return Model(name, path, raw, config, model_class, repo_id, commit, trust_remote_code, stored)


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
            raise FactcliError(
                f"{name} has model_type {config.model_type!r}, which has no base model class: name its class of "
                'transformers under "architectures" in config.json.'
            )
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
    wanted = next(iter(raw.get("architectures") or ()), None)
    reference = next((str(r) for r in raw["auto_map"].values() if str(r).endswith(f".{wanted}")), None)
    if reference is None:
        raise FactcliError(
            f'{name} has code of its own, of which "auto_map" in config.json does not name the class {wanted} that '
            '"architectures" there does: name it in both.'
        )
    try:
        return get_class_from_dynamic_module(reference, path)
    except Exception as error:  # it may do anything
        raise FactcliError(
            f"{name} has code of its own that does not give its model class {wanted}: {one_line(error)}"
        ) from error


def native_head(config_class: type[PretrainedConfig], auto: str) -> type[PreTrainedModel] | None:
    """The class that an Auto class (such as "AutoModelForSequenceClassification") takes for a native configuration."""
    found: Any = getattr(transformers, auto)._model_mapping.get(config_class, None)
    head: type[PreTrainedModel] | None = found[0] if isinstance(found, (list, tuple)) else found
    return head


def factorized_class(native: type[PreTrainedModel], layer_file: Path = remote_code.MODELING) -> type[PreTrainedModel]:
    """Our subclass of a native model class, for models whose layers `layer_file` has."""
    found: type[PreTrainedModel] = getattr(remote_code.module(layer_file), PREFIX + native.__name__)
    return found
