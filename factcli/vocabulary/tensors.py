"""The tensors of a model that have a row for every token, found by what the model's class says of itself."""

import copy
import json
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ..errors import FactcliError
from ..models.loading import spellings
from ..models.model import Model, native_head
from ..models.weights import FILE, INDEX
from .counting import Ints

_BIASES = ("final_logits_bias",)  # (1, rows), a buffer of BART's kind
_HEADS = ("AutoModelForMaskedLM", "AutoModelForPreTraining", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")


def rows_of(source: Model) -> int:
    """The rows of its input embeddings. Raises FactcliError where the model has none, or several vocabularies."""
    model = source.outline.model
    tables = [t for t in _modules(model, "get_input_embeddings") if isinstance(getattr(t, "weight", None), Tensor)]
    if not tables:
        raise FactcliError(
            f"{source.name} ({type(model).__name__}) has no table of tokens that can be found: leave out --vocabulary."
        )
    rows = {len(t.weight) for t in tables}
    names = _in_model(model)
    more = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)
            and module.num_embeddings in rows and f"{name}.weight" not in names and "position" not in name]  # fmt: skip
    if len(rows) > 1 or more:
        which = f"{more[0]} beside its embeddings" if more else " and ".join(map(str, sorted(rows))) + " rows"
        raise FactcliError(f"{source.name} has several tables of tokens ({which}): leave out --vocabulary.")
    return int(rows.pop())


def of_vocabulary(source: Model) -> dict[str, int]:
    """Names of tensors, as its files may call them, and the dimension that is over the vocabulary.

    Of its class, and of the classes with a head over the vocabulary, of which its files may hold one.
    """
    models = [source.outline.model]
    heads = [native_head(source.native_config_class, auto) for auto in _HEADS]
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)  # some heads warn that they are not what the configuration is for
    try:
        models += [made for head in heads if head is not None and (made := _made(head, source)) is not None]
    finally:
        logging.set_verbosity(verbosity)
    found: dict[str, int] = {}
    for model in models:
        for name, dimension in _in_model(model).items():
            found |= dict.fromkeys(spellings(name, f"{model.base_model_prefix}."), dimension)
    return found


def _made(head: type[PreTrainedModel], source: Model) -> PreTrainedModel | None:
    """The class on the meta device; None where the configuration is not enough for it."""
    try:
        with torch.device("meta"):
            return head(copy.deepcopy(source.config))
    except Exception:  # what a class asks of a configuration is its own
        return None


def _modules(model: PreTrainedModel, *getters: str) -> list[Any]:
    """The modules that the parts of a model give as their embeddings."""
    found: dict[int, Any] = {}
    for part in model.modules():
        for getter in getters if isinstance(part, PreTrainedModel) else ():
            try:
                module = getattr(part, getter)()
            except (AttributeError, NotImplementedError):  # it has none
                continue
            if isinstance(module, nn.Module):
                found[id(module)] = module
    return list(found.values())


def _in_model(model: PreTrainedModel) -> dict[str, int]:
    inputs, heads = _modules(model, "get_input_embeddings"), _modules(model, "get_output_embeddings")
    weights = [m.weight for m in inputs if isinstance(getattr(m, "weight", None), Tensor)]
    rows = len(weights[0]) if weights else -1
    owners = {id(m) for m in (*inputs, *heads)}
    found: dict[str, int] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        # A head's bias may be its parent's, under a name of its own.
        parent = any(id(child) in {id(m) for m in heads} for child in module.children())
        for leaf, tensor in module.named_parameters(recurse=False):
            if len(tensor.shape) and len(tensor) == rows and (id(module) in owners or (parent and tensor.ndim == 1)):
                found[f"{name}.{leaf}".lstrip(".")] = 0
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] in _BIASES and buffer.shape[-1] == rows:
            found[name] = buffer.ndim - 1
    for a, b in _tied(model).items():
        if a in found or b in found:
            found |= {a: 0, b: 0}
    return found


def _tied(model: PreTrainedModel) -> dict[str, str]:
    """Other names of tensors: what the class ties, whether the configuration does or not."""
    found: dict[str, str] = {}
    for part in (getattr(model, "_tied_weights_keys", None), getattr(model, "all_tied_weights_keys", None)):
        found |= part if isinstance(part, dict) else {}
    return found


def write_weights(work: Path, source: Model, kept: Ints, rows: int) -> None:
    """The weight files of `source` in `work`, with the rows `kept` of what is over the vocabulary: a file at a time,
    each tensor in its own precision. Raises FactcliError where no file has the embeddings."""
    stored, dimensions, index = source.stored, of_vocabulary(source), torch.from_numpy(kept)
    names = {name: n for name, n in dimensions.items() if name in stored.tensors}
    names = {name: n for name, n in names.items() if stored.tensors[name].shape[n] == rows}
    if not names:
        raise FactcliError(f"{source.name} has no table of tokens in its weights: leave out --vocabulary.")
    places: dict[str, str] = {}
    total = 0
    for number, file in enumerate(stored.files):
        target = FILE if len(stored.files) == 1 else f"model-{number + 1:05}-of-{len(stored.files):05}.safetensors"
        tensors = stored.read([name for name, t in stored.tensors.items() if t.file == file])
        for name in tensors.keys() & names.keys():
            tensors[name] = tensors[name].index_select(names[name], index)
        save_file({name: t.contiguous() for name, t in tensors.items()}, work / target, {"format": "pt"})
        places |= dict.fromkeys(tensors, target)
        total += sum(t.nbytes for t in tensors.values())
    if len(stored.files) > 1:
        about = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        (work / INDEX).write_text(json.dumps(about, indent=2), encoding="utf-8")
