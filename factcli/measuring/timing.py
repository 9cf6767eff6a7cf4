"""Forward passes timed in alternation."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ..progress import tell
from .inputs import Inputs

TURN_SECONDS, MOST_FORWARDS = 0.5, 10  # of the slowest model's turn in a round
_TICKS = 10  # a second
WARM_UP_SECONDS, MOST_WARM_UPS = 1.0, 10

Cell = tuple[int, int, str]  # batch size, sequence length, variant
Run = Callable[[Inputs], Any]
Samples = list[list[float]]  # milliseconds, by round and forward


@dataclass(frozen=True)
class Schedule:
    """Rounds: at least `least`, then on until `seconds` have passed, at most `most`; the first `omitted` do not count.

    In each, every model has a turn of `forwards` passes (None: by their duration) over `examples` inputs. `centre`,
    median or mean, is what sums up times.
    """

    least: int
    most: int
    seconds: float
    forwards: int | None = None
    examples: int = 1
    omitted: int = 0
    centre: str = "median"


def paper_schedule() -> Schedule:
    """Gupta et al. 2024, section 4: 8 runs over 100 random examples, the first two omitted from the average.
    The paper does not say how long its examples are."""
    return Schedule(least=8, most=8, seconds=0, forwards=100, examples=100, omitted=2, centre="mean")


def make_run(model: PreTrainedModel, variant: str, example: Inputs) -> Run:
    """A forward pass of `model` for inputs like `example`: as it is, through torch.compile, or as a CUDA graph of the
    eager pass that is replayed (inputs are copied in, which counts). It has run once. Use it in inference mode.

    Compiled or captured, transformers cannot see that a mask is full and drop it, as it does eagerly.
    """
    if variant == "cuda-graphs":
        return _graph(model, example)
    forward: Callable[..., Any] = torch.compile(model, dynamic=False) if variant == "compile" else model

    def run(inputs: Inputs) -> Any:
        return forward(**inputs)

    run(example)
    return run


def _graph(model: PreTrainedModel, example: Inputs) -> Run:
    still = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in example.items()}
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # capture must not meet what libraries do once
        for _ in range(3):
            model(**still)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = model(**still)

    def run(inputs: Inputs) -> Any:
        for name, value in inputs.items():
            if isinstance(value, torch.Tensor):
                still[name].copy_(value)
        graph.replay()
        return output

    return run


def time_ms(run: Run, inputs: Inputs, device: torch.device) -> float:
    """Milliseconds of one forward pass, from an idle device until its result is there: between CUDA events on a GPU,
    by the monotonic clock on a CPU."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        run(inputs)
        end.record()
        end.synchronize()
        return round(float(start.elapsed_time(end)), 6)
    started = time.perf_counter()
    run(inputs)
    return round(1000 * (time.perf_counter() - started), 6)


def warm_up(run: Run, inputs: Inputs, device: torch.device) -> float:
    """Run it until it is warm; the milliseconds of the fastest pass."""
    started, times = time.perf_counter(), [time_ms(run, inputs, device)]
    while len(times) < MOST_WARM_UPS and time.perf_counter() - started < WARM_UP_SECONDS:
        times.append(time_ms(run, inputs, device))
    return min(times)


def alternate(
    runs: Sequence[Run], inputs: Sequence[Sequence[Inputs]], device: torch.device, schedule: Schedule
) -> list[Samples]:
    """Time the models in turns, so that whatever else the machine does meets all of them alike.

    Args:
        inputs: Of each run; a turn goes over them in order, again and again.

    Returns:
        The samples of each run. Another run begins each round, so that none is always first.
    """
    slowest = max(warm_up(run, given[0], device) for run, given in zip(runs, inputs, strict=True))

    def turn(k: int, forwards: int) -> list[float]:
        return [time_ms(runs[k], inputs[k][i % len(inputs[k])], device) for i in range(forwards)]

    return in_turns(turn, len(runs), slowest, schedule)


def in_turns(turn: Callable[[int, int], list[float]], count: int, slowest: float, schedule: Schedule) -> list[Samples]:
    """The samples of `count` runs by rounds: `turn` times so many passes of one of them. `slowest` are the milliseconds
    of the slowest one's pass."""
    forwards = schedule.forwards or max(1, min(MOST_FORWARDS, int(1000 * TURN_SECONDS / max(slowest, 1e-3))))
    samples: list[Samples] = [[] for _ in range(count)]
    started = time.perf_counter()
    for done in range(schedule.most):
        if done >= schedule.least and time.perf_counter() - started > schedule.seconds:
            break
        taken = time.perf_counter() - started
        if schedule.seconds and done >= schedule.least:
            tell(int(_TICKS * taken), int(_TICKS * schedule.seconds), "timing")
        elif not schedule.seconds:
            tell(done, schedule.most, "timing")
        for place in range(count):
            k = (done + place) % count
            samples[k].append(turn(k, forwards))
    return [s[schedule.omitted :] for s in samples]
