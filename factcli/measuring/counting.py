"""What is counted rather than timed: FLOPs and bytes."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ..remote_code.kernels_factorized import SWITCH
from .inputs import Inputs


def count_flops(model: nn.Module, inputs: Inputs) -> int:
    """FLOPs of one forward pass, of matrix products and convolutions, a multiply-add as two.

    Counted by torch.utils.flop_counter during an eager forward. Attention is taken apart into its two products for
    that, and block layers run as plain products: fused kernels (attention's on the CPU, ours on a GPU) are unknown to
    the counter and would count as nothing.
    """
    # Not in inference mode, where the counter fails on modules that are given parameters (DeBERTa's).
    counter = FlopCounterMode(display=False)
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "0"  # reaches the code of an export too, whichever copy of it the model runs
    try:
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(**inputs)
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before
    return int(counter.get_total_flops())


def peak_memory(model: nn.Module, run: Callable[[Inputs], Any], inputs: Inputs, device: torch.device) -> int:
    """Bytes of the weights, the inputs, and the most that a forward pass `run(inputs)` holds besides them at once.

    On a GPU from torch.cuda.max_memory_allocated, less what was allocated before (other models are there too). On a
    CPU from every allocation and release of tensor memory that torch's profiler records; without the working memory of
    the libraries below torch, the interpreter and the programs themselves.
    """
    held = resident(model) + sum(t.nbytes for t in inputs.values() if isinstance(t, Tensor))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run(inputs)
        torch.cuda.synchronize(device)
        return held + torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or its profiler announces itself on stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run(inputs)
    assert recorded.profiler is not None
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return held + most


def resident(model: nn.Module) -> int:
    """Bytes of parameters and buffers, shared ones once."""
    return sum(t.nbytes for t in {id(t): t for t in (*model.parameters(), *model.buffers())}.values())
