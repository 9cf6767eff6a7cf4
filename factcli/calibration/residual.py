"""Where the output of a layer joins the residual stream: the module that is first given their sum."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..models.memory import is_out_of_memory

AHEAD = 4  # calls after a layer's own: a dropout or two, a gate, the norm
NEAR = 1e-3  # of the largest effect: rounding


@dataclass(eq=False)
class _Call:
    name: str
    given: Tensor
    output: Tensor


def find_sums(model: nn.Module, forward: Callable[[], Tensor], names: Iterable[str]) -> dict[str, str]:
    """The names of layers whose output is added to what does not depend on it, each with the name of the module that is
    given the sum: a norm, as a rule. `forward` runs `model` on an example and gives its output.

    The sum's derivative by the layer's output is the identity. What is added to it in place, as it is given, must
    reach all that the layer's output reaches: the stream itself, and not the norm alone. Nothing is found in models
    that allow no graph, or change in place what it needs.
    """
    try:
        sums = _candidates(model, forward, set(names))
        if _reaches(model, forward, sums):
            return sums
        return {name: place for name, place in sums.items() if _reaches(model, forward, {name: place})}
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        return {}


def _candidates(model: nn.Module, forward: Callable[[], Tensor], names: set[str]) -> dict[str, str]:
    calls = _trace(model, forward, names)
    often = Counter(call.name for call in calls)
    places: dict[str, str] = {}  # of two layers that join at once the last one
    for i, call in enumerate(calls):
        if call.name not in names or often[call.name] > 1:
            continue
        for later in calls[i + 1 : i + 1 + AHEAD]:
            if often[later.name] == 1 and _is_sum(later.given, call.output):
                places[later.name] = call.name
                break
    return {name: place for place, name in places.items()}


def _trace(model: nn.Module, forward: Callable[[], Tensor], names: set[str]) -> list[_Call]:
    """The calls of modules without parts, with a graph from the outputs of `names` on."""
    calls: list[_Call] = []

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if not (args and isinstance(args[0], Tensor) and isinstance(output, Tensor)):
                return output
            if name in names and not output.requires_grad:
                output = output.requires_grad_().clone()  # no leaf: the model may change it in place
            calls.append(_Call(name, args[0], output))
            return output

        return note

    handles = [m.register_forward_hook(hook(n)) for n, m in model.named_modules() if next(m.children(), None) is None]
    try:
        with torch.enable_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _is_sum(given: Tensor, output: Tensor) -> bool:
    if given.shape != output.shape or not given.requires_grad or torch.equal(given, output):
        return False
    draw = torch.Generator().manual_seed(0)
    along = torch.randn(given.shape, generator=draw).to(given)
    (found,) = torch.autograd.grad(given, output, along, retain_graph=True, allow_unused=True)
    return found is not None and torch.equal(found, along)


@torch.no_grad()
def _reaches(model: nn.Module, forward: Callable[[], Tensor], sums: dict[str, str]) -> bool:
    """Whether what is added to the outputs of all layers of `sums` and what is added to the sums comes to the same, and
    to anything at all."""
    if not sums:
        return True
    moves: dict[str, Tensor] = {}

    def early(name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(output.shape[-1])
        moves[name] = torch.randn(output.shape, generator=draw).to(output) * (float(output.std()) or 1.0)
        return output + moves[name]

    def late(name: str, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].add_(moves[name])

    plain = forward()
    with ExitStack() as hooked:
        for name in sums:
            hooked.callback(model.get_submodule(name).register_forward_hook(partial(early, name)).remove)
        one = forward()
    with ExitStack() as hooked:
        for name, place in sums.items():
            hooked.callback(model.get_submodule(place).register_forward_pre_hook(partial(late, name)).remove)
        other = forward()
    effect = float((one - plain).abs().max())
    return effect > 0 and float((one - other).abs().max()) <= NEAR * effect
