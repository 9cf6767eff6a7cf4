"""A model with its values, or without, as transformers loads it; weights that do not fit are refused."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import FactcliError, one_line
from .precision import load_on_meta
from .weights import FLOATS, Weights

if TYPE_CHECKING:
    from .model import Model


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


def load_model(source: Model, dtype: torch.dtype | None = None) -> Loaded:
    """The model of `source` in its own precision (or `dtype`), as transformers loads it, on the CPU, not training.

    Raises FactcliError for weights that are missing in its blocks, do not fit config.json or are quantized, and for a
    NaN or infinity in any tensor.
    """
    model_class, stored = source.model_class, source.stored
    wanted = dtype or getattr(torch, source.dtype)
    given: dict[str, Any] = {"state_dict": stored.read(stored.tensors)} if stored.wrapped else {}
    try:
        loaded: Any = model_class.from_pretrained(
            None if given else source.path, config=source.config, dtype=wanted, local_files_only=True,
            ignore_mismatched_sizes=True, output_loading_info=True, **given,
        )  # fmt: skip
    except Exception as error:  # files are refused by whatever reads them, in ways of its own
        raise FactcliError(f"{source.name} cannot be loaded as {model_class.__name__}: {one_line(error)}") from error
    model, info = loaded
    absent, unused = _fitting(source, model, info)
    for name, tensor in model.state_dict().items():
        if name not in absent and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FactcliError(_not_finite(source, name, tensor.dtype))
    return Loaded(model.eval(), absent, stored.read(unused))


def bare_model(source: Model) -> PreTrainedModel:
    """The class of `source` as its configuration describes it, on the meta device, whatever weights there are."""
    with torch.device("meta"):
        return source.model_class(source.config)


def load_meta(source: Model, dtype: torch.dtype | None = None) -> Loaded:
    """The same without values, on the meta device; from the configuration alone where `source` has no weights.

    Raises FactcliError for weights that do not fit.
    """
    wanted = dtype or getattr(torch, source.dtype)
    with torch.device("meta"):
        state = source.weights.on_meta() if source.weights else bare_model(source).state_dict()
    try:
        model, info = load_on_meta(source.model_class, source.config, state, wanted)
    except Exception as error:  # files are refused by whatever reads them, in ways of its own
        line = one_line(error)
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
    found = [next((n for n in spellings(name, base) if n in weights.tensors), None) for name in (tied, kept)]
    if None in found or weights.tensors[str(found[0])].shape != weights.tensors[str(found[1])].shape:
        return True
    a, b = weights.read({str(n) for n in found}).values()
    return torch.equal(a.to(dtype), b.to(dtype))


def spellings(name: str, base: str) -> tuple[str, str, str]:
    """How a tensor may be called in a file: with the base model's name before it, or without."""
    return name, base + name, name.removeprefix(base)


def _fitting(source: Model, model: PreTrainedModel, info: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Names of tensors that the files lack, and of those that only they have; from what transformers said when it
    loaded them. Raises FactcliError where they do not belong to the configuration."""
    stored, state = source.stored, model.state_dict()
    base = f"{model.base_model_prefix}."
    own = {n for name in state for n in spellings(name, base)}
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
    return next(state[n] for n in spellings(name, base) if n in state)


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


def _not_finite(source: Model, name: str, dtype: torch.dtype) -> str:
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


def align(model: PreTrainedModel) -> None:
    """Put weights that a file is mapped to where torch would put them, in place: kernels round otherwise by it."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()
