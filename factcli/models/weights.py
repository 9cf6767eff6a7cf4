"""The weights of a model directory: which files transformers reads, and what tensors stand in them."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import FactcliError
from ..hub.contents import ADAPTER, no_weights
from ..notes import note

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# What torch.compile, DistributedDataParallel, FSDP and activation checkpointing put into names.
_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
_LEADING = ("module.", "base_model.model.")
_ADAPTED = re.compile(r"(^|\.)(lora_(A|B|embedding_A|embedding_B|magnitude_vector)|ia3_l|hada_w\w+|base_layer)(\.|$)")
_AUTO = {
    "SEQ_CLS": "AutoPeftModelForSequenceClassification", "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "CAUSAL_LM": "AutoPeftModelForCausalLM", "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering", "FEATURE_EXTRACTION": "AutoPeftModelForFeatureExtraction",
}  # fmt: skip
_PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, where it is called `key`; `dtype` as safetensors writes it (F32, BF16, I8 ...)."""

    file: Path
    key: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class Weights:
    """The files that transformers reads, and their tensors by name, in the files' order.

    Names are those of the model: what wrappers of training (torch.compile, DistributedDataParallel, FSDP, PEFT) put
    into them is taken off, and said in `wrapped`.
    """

    files: tuple[Path, ...]
    tensors: dict[str, Stored]
    wrapped: str | None = None

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(prod(t.shape) for t in self.tensors.values())

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.bytes for t in self.tensors.values())

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the first tensor of a floating type, which transformers takes for all where config.json says nothing."""
        return next((FLOATS[t.dtype] for t in self.tensors.values() if t.dtype in FLOATS), None)

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """The tensors `names`, byte for byte. Raises FactcliError for a type that torch does not have."""
        found: dict[str, Tensor] = {}
        for file in self.files:
            here = {name: t for name, t in self.tensors.items() if t.file == file and name in names}
            if not here:
                continue
            with safe_open(file, "pt") as opened:
                for name, stored in here.items():
                    try:
                        found[name] = opened.get_tensor(stored.key)
                    except (SafetensorError, KeyError, AttributeError, ValueError) as error:
                        raise FactcliError(
                            f"{file} has {stored.key} as {stored.dtype}, which cannot be read: remove it."
                        ) from error
        return found

    def on_meta(self) -> dict[str, Tensor]:
        """Every tensor without its values, for finding out what a class makes of them. Of types other than FLOATS the
        shape alone is meant."""
        return {
            name: torch.empty(t.shape, dtype=FLOATS.get(t.dtype, torch.uint8), device="meta")
            for name, t in self.tensors.items()
        }


def read_weights(path: Path, name: str, raw: dict[str, Any] | None = None, listing: Iterable[str] = ()) -> Weights:
    """What stands in the weight files of the model directory `path`, from their headers.

    `name` is what the user calls it, `raw` its config.json, `listing` the files that the Hub has where `path` is a part
    of a repository. Raises FactcliError where there are no files that can be read, with what to do.
    """
    files = _files(path, name, (raw or {}).get("transformers_weights"), listing)
    stored = [tensor for file in files for tensor in _header(file)]
    tensors, wrapped = _unwrapped({t.key: t for t in stored}, name)
    adapted = next((t for t in tensors if _ADAPTED.search(t)), None)
    if adapted is not None:
        raise FactcliError(
            f"{name} has adapters in its weights, such as {adapted}: merge them first, with "
            "model.merge_and_unload().save_pretrained(DIRECTORY) on the PEFT model, and give that directory."
        )
    _say_unread(path, name, files)
    if wrapped is not None:
        note(f"{name} has weights whose names hold {wrapped!r}, as a wrapper of training leaves it: read without.")
    return Weights(tuple(files), tensors, wrapped)


def markers(weights: Weights, raw: dict[str, Any]) -> int:
    """How many elements of a factorized model are no parameters (0 for another model): the one in the place of a
    matrix, which has no part in the product, and what a layer has in integers; `raw` is its config.json."""
    layers = raw.get("factorization", {}).get("layers", ())
    owners = tuple(layer["name"] for layer in layers if layer["structure"] != "dense")
    of_layers = {n: t for n, t in weights.tensors.items() if owners and n.rpartition(".")[0].endswith(owners)}
    return sum(prod(t.shape) for n, t in of_layers.items() if n.endswith(".weight") or t.dtype not in FLOATS)


def adapter_sentence(path: Path, name: str) -> str:
    """What to do with a directory that has adapter_config.json."""
    try:
        about = json.loads((path / ADAPTER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = {}
    about = about if isinstance(about, dict) else {}
    kind, base = str(about.get("peft_type") or "PEFT"), about.get("base_model_name_or_path") or "its base model"
    task = str(about.get("task_type"))
    if kind in _PROMPTS:
        return f"{name} is an adapter ({kind}), which no weights can take up: give the model it was made for, {base}."
    beside = (path / FILE).is_file() or (path / INDEX).is_file()
    what = "has an adapter beside its weights" if beside else "is an adapter"
    return (
        f"{name} {what} ({kind} for {base}): merge it first, with peft.{_AUTO.get(task, 'AutoPeftModel')}"
        f'.from_pretrained("{name}").merge_and_unload().save_pretrained("DIRECTORY"), and give that directory.'
    )


def _files(path: Path, name: str, named: Any, listing: Iterable[str]) -> list[Path]:
    """In transformers' own order: what config.json names, one file, an index of shards."""
    if named is not None:
        file = path / _inside(str(named), path / "config.json")
        if not file.is_file():
            raise FactcliError(f"{name} has no weights: {named}, which config.json names, is missing.")
        return _shards(file, name) if file.name.endswith(".index.json") else [file]
    if (path / FILE).is_file():
        return [path / FILE]
    if (path / INDEX).is_file():
        return _shards(path / INDEX, name)
    raise FactcliError(no_weights(name, {p.name for p in path.iterdir()} | set(listing)))


def _shards(index: Path, name: str) -> list[Path]:
    try:
        values = json.loads(index.read_text(encoding="utf-8"))
        found = values["weight_map"].values()
        files = [index.parent / _inside(str(file), index) for file in sorted(set(found))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FactcliError(f"{index} cannot be read: fetch the model again.") from error
    if not isinstance(values.get("metadata"), dict):
        raise FactcliError(f'{index} has no "metadata", which transformers wants to see: write "metadata": {{}} there.')
    lost = [f.name for f in files if not f.is_file()]
    if lost or not files:
        what = f"{lost[0]} is missing" if lost else "the index names no file"
        more = f" ({len(lost)} of {len(files)} shards are)" if len(lost) > 1 else ""
        raise FactcliError(f"{name} lacks weights: {what}{more}: fetch it again.")
    return files


def _inside(file: str, where: Path) -> str:
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise FactcliError(f"{where} names weights outside of its directory ({file}): fetch the model again.")
    return file


def _header(file: Path) -> list[Stored]:
    """What stands in a safetensors file, in its own order."""
    try:
        with file.open("rb") as stream:
            if stream.read(23) == b"version https://git-lfs":
                raise FactcliError(f"{file} is a pointer of Git LFS in place of weights: run 'git lfs pull'.")
        with safe_open(file, "pt") as opened:  # checks sizes and offsets, and gives the order
            order = list(opened.keys())
        with file.open("rb") as stream:
            entries = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    except PermissionError as error:
        raise FactcliError(f"{file} cannot be read: change its rights.") from error
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FactcliError(f"{file} is damaged or cut short ({reason}): fetch it again.") from error
    found = []
    for key in order:
        start, end = entries[key]["data_offsets"]
        found.append(Stored(file, key, entries[key]["dtype"], tuple(entries[key]["shape"]), end - start))
    return found


def _unwrapped(stored: dict[str, Stored], name: str) -> tuple[dict[str, Stored], str | None]:
    """Tensors by the model's names, and what was taken off."""
    taken: list[str] = []
    names = {key: key for key in stored}
    while True:
        inner = {key: ".".join(p for p in old.split(".") if p not in _WRAPPERS) for key, old in names.items()}
        for old in names.values():
            taken += [f"{p}." for p in old.split(".") if p in _WRAPPERS and f"{p}." not in taken]
        dotted = [n for n in inner.values() if "." in n]  # a counter may stand beside what was wrapped
        leading = next((p for p in _LEADING if dotted and all(n.startswith(p) for n in dotted)), None)
        if leading is not None:
            inner = {key: n.removeprefix(leading) for key, n in inner.items()}
            taken.append(leading)
        if inner == names:
            break
        names = inner
    if len(set(names.values())) < len(names):
        twice = next(n for n in names.values() if list(names.values()).count(n) > 1)
        raise FactcliError(
            f"{name} has {twice} twice, with and without {taken[0]!r} in its name: save it again with save_pretrained."
        )
    return {names[key]: tensor for key, tensor in stored.items()}, "".join(taken) or None


def _say_unread(path: Path, name: str, files: list[Path]) -> None:
    """Weight files beside those that are read are nobody's: say so."""
    here = {p.name for p in path.iterdir() if re.fullmatch(r"model.*\.safetensors(\.index\.json)?", p.name)}
    index = {INDEX} if files[0].name != FILE else set()
    unread = sorted(here - {f.name for f in files} - index)
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        read = files[0].name if len(files) == 1 else INDEX
        note(f"{name} also has {unread[0]}{more}, which transformers does not read beside {read}: left out.")
