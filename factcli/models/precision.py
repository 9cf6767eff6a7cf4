"""The precision of every tensor of a model: what transformers makes of it, and nothing else.

A model in float16 is not a model whose tensors are all in float16. transformers keeps modules in float32 that would
overflow (T5's `wo`), parameters that a class makes in a type of its own, and buffers that are computed and not stored
(rotary frequencies); which these are differs between its releases. So it is asked, by having it load tensors without
values, and what is cast is what would be stored: parameters and persistent buffers.

What a precision costs on this CPU is measured, where a command is asked to compute in it there.
"""

import copy
import math
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..notes import note


def load_on_meta(
    model_class: type[PreTrainedModel], config: PretrainedConfig, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model that transformers makes of `tensors` (by name, on the meta device) in `dtype`, without values, and what
    it says of missing, unexpected and mismatched ones."""
    loaded: Any = model_class.from_pretrained(
        None, config=config, state_dict=dict(tensors), dtype=dtype, device_map="meta", ignore_mismatched_sizes=True,
        output_loading_info=True,
    )  # fmt: skip
    model, info = loaded
    return model, info


def stored_dtypes(
    model_class: type[PreTrainedModel], config: PretrainedConfig, state: Mapping[str, Tensor], dtype: torch.dtype
) -> dict[str, torch.dtype]:
    """The type that each tensor of a state dict has when transformers loads it in `dtype`."""
    shapes = {name: torch.empty(t.shape, dtype=t.dtype, device="meta") for name, t in state.items()}
    model, _ = load_on_meta(model_class, config, shapes, dtype)
    return {name: t.dtype for name, t in model.state_dict().items()}


def config_in(config: PretrainedConfig, dtype: torch.dtype) -> PretrainedConfig:
    """A copy of `config` for a new model in `dtype`: heads that make their base model from it take what it says."""
    found = copy.deepcopy(config)
    for part in (found, *(getattr(found, key, None) for key in found.sub_configs)):
        if part is not None:
            part.dtype = dtype
    return found


@torch.no_grad()
def cast(model: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Give the parameters and buffers that `dtypes` names those types, in place; the others stay as they are."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name in dtypes and tensor.is_floating_point():
            tensor.data = tensor.data.to(dtypes[name])


def beyond(tensors: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype]) -> str | None:
    """The first tensor with values that its type in `dtypes` cannot hold; None where all can."""
    for name, tensor in tensors.items():
        if name in dtypes and tensor.is_floating_point() and tensor.numel():
            most = torch.finfo(dtypes[name]).max
            if most < torch.finfo(tensor.dtype).max and bool((tensor.abs() > most).any()):
                return name
    return None


SLOW = 1.25  # times as long: below that it is the noise of a machine with other work
_SHAPE = (64, 512, 512)  # rows, inputs and outputs: 1 ms in float32 on one core, so that all of it takes less than 50


@cache
def times_as_long(precision: str, than: str = "float32") -> float:
    """How many times as long as in `than` a product of matrices takes in `precision` on this CPU: measured once in a
    process, on one core."""
    rows, inputs, outputs = _SHAPE
    kinds = [getattr(torch, name) for name in (precision, than)]
    given = [(torch.ones(rows, inputs, dtype=k), torch.ones(outputs, inputs, dtype=k)) for k in kinds]
    best = [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for turn in range(3):
                for which, (x, weight) in enumerate(given):
                    started = time.perf_counter()
                    nn.functional.linear(x, weight)
                    if turn:  # the first one also prepares
                        best[which] = min(best[which], time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return best[0] / best[1]


def say_if_slow(option: str, precision: str, than: str = "float32") -> None:
    """A note where this CPU is slower in `precision`, which `option` asks for, as it has no instructions for it."""
    times = times_as_long(precision, than)
    if times > SLOW:
        note(f"{precision} takes this CPU {times:.1f} times as long as {than}: leave {option} out.")
