"""What one would do without factors: leave layers out, or save in another precision. The result is a plain model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..card.provenance import made_with
from ..errors import FactcliError
from ..files.outputs import Output
from ..models.export import write_model
from ..models.loading import Loaded, bare_model
from ..models.machine import without_implementations
from ..models.model import Model
from ..models.purpose import decodes
from ..models.trained import read_trained
from ..recipe.file import FILE_NAME, dump_recipe

_PER_LAYER = "layer_types"  # of a configuration: what kind of attention each layer has


def every(source: Model, step: int) -> tuple[int, ...]:
    """Every `step`-th layer (2 or more) of a source, the first included, which some architectures give what no other
    has. Raises FactcliError where layers cannot be left out, or all would stay."""
    _, count = stack_of(source)
    stay = tuple(range(0, count, step))
    if len(stay) == count:
        raise FactcliError(f"{source.name} has one layer: none can be left out.")
    return stay


def stack_of(source: Model) -> tuple[str, int]:
    """The name of the list of a model's layers, and how many there are. Raises FactcliError where they are shared
    (ALBERT), or an encoder's and a decoder's."""
    count = getattr(source.config, "num_hidden_layers", None)
    found = [
        name
        for name, module in bare_model(source).named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count and not any(p.isdigit() for p in name.split("."))
    ]
    if count is None or len(found) != 1 or decodes(source.model_class):
        raise FactcliError(
            f"{source.name} ({source.model_class.__name__}) has no one list of layers to leave some out of."
        )
    return found[0], count


def with_layers(source: Model, stay: Sequence[int]) -> tuple[Model, Loaded]:
    """The model with the layers `stay` alone, in that order, and the source that its files are written from; all else
    is as it was. Raises FactcliError where a model of fewer layers does not take the weights."""
    stack, count = stack_of(source)
    named = getattr(source.config, "attribute_map", {}).get("num_hidden_layers", "num_hidden_layers")
    changes: dict[str, Any] = {named: len(stay)}
    kinds = getattr(source.config, _PER_LAYER, None)
    if kinds is not None and len(kinds) == count:
        changes[_PER_LAYER] = [kinds[i] for i in stay]
    raw = source.raw | changes
    config = type(source.config).from_dict(without_implementations(raw))
    dense = source.load()
    model = source.model_class(config)
    nn.Module.to(model, dense.model.dtype)
    found = model.load_state_dict(_renamed(dense.model.state_dict(), stack, stay), strict=False)
    lacking = sorted(set(found.missing_keys) - dense.absent)
    if lacking or found.unexpected_keys:
        raise FactcliError(
            f"{source.name} without some of its layers does not take its weights "
            f"({[*lacking, *found.unexpected_keys][0]}): its layers are not alike."
        )
    thin = replace(source, raw=raw, config=config)
    return thin, Loaded(model.train(False), dense.absent, _renamed(dense.extra, stack, stay))


def _renamed(state: dict[str, torch.Tensor], stack: str, stay: Sequence[int]) -> dict[str, torch.Tensor]:
    """The tensors of the layers that stay, by their new places, and of all else."""
    places = {str(old): str(new) for new, old in enumerate(stay)}
    found = {}
    for name, tensor in state.items():
        before, inside, rest = name.partition(f"{stack}.")
        place, dot, inner = rest.partition(".")
        if not inside or before:
            found[name] = tensor
        elif place in places:
            found[f"{inside}{places[place]}{dot}{inner}"] = tensor
    return found


def export_plain(source: Model, place: Output, stay: Sequence[int] | None = None, dtype: str | None = None) -> None:
    """Write a source to `place`, in the precision `dtype` (None: its own), with the layers `stay` (None: all). It
    reloads without factcli. Raises FactcliError as `with_layers` and `write_model`."""
    written, loaded = (source, source.load()) if stay is None else with_layers(source, stay)
    layers = "all layers" if stay is None else f"the layers {', '.join(map(str, stay))}"
    about = made_with(source, None, steps=[f"saved with {layers} in {dtype or source.dtype}"])
    trained = read_trained(source.path).to_dict()
    with place.new() as work:
        write_model(work, loaded, written, None, {FILE_NAME: dump_recipe(None, about, trained=trained)}, dtype=dtype)
