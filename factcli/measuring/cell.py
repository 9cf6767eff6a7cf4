"""One cell of the table: the models on inputs of one shape, in one variant."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import FactcliError
from ..models.loading import load_model
from ..models.model import Model, find_model
from ..models.weights import markers
from ..notes import note
from ..scores.results import accuracies
from .counting import count_flops, peak_memory
from .inputs import make_inputs
from .ratios import latency
from .timing import Cell, Samples, Schedule, alternate, make_run

ALIGNED = 8  # numbers of 16 bits that a GPU loads at once


@dataclass
class Subject:
    """One of the models that are measured, with what does not depend on the inputs."""

    source: Model
    model: PreTrainedModel
    parameters: int
    bytes: int
    accuracy: dict[str, float]


def load_subject(name: str, device: torch.device, dtype: torch.dtype | None) -> Subject:
    """A directory or Hub id on `device`. Raises FactcliError as find_model and load_model do."""
    source = find_model(name, accept_factorized=True)
    model = load_model(source, dtype=dtype).model
    torch.nn.Module.to(model, device)
    say_ranks(source, model.dtype, device)
    parameters = source.stored.parameters - markers(source.stored, source.raw)
    size = sum(file.stat().st_size for file in source.stored.files)
    return Subject(source, model, parameters, size, accuracies(source, source.stored.files))


def say_ranks(source: Model, dtype: torch.dtype, device: torch.device) -> None:
    """Ranks that a GPU's products of 16-bit numbers are slow with: 1.6 times as long, at 44.4 M of BERT-base."""
    layers = source.raw.get("factorization", {}).get("layers", [])
    ranks = [spec["rank"] for layer in layers if "rank" in (spec := layer.get("spec", layer)) and spec["rank"]]
    uneven = sum(rank % ALIGNED > 0 for rank in ranks)
    if device.type == "cuda" and dtype in (torch.float16, torch.bfloat16) and uneven:
        note(
            f"{source.name}: {uneven} of {len(ranks)} ranks are no multiple of {ALIGNED}, which costs a GPU time in "
            f"{str(dtype).removeprefix('torch.')}: convert with --rank-multiple {ALIGNED}."
        )


def measure_cell(subjects: list[Subject], cell: Cell, schedule: Schedule, device: torch.device) -> list[dict[str, Any]]:
    """An entry of "results" for each model. Call it in inference mode.

    Raises:
        FactcliError: A model fails on its inputs, for whatever reason.
    """
    batch_size, length, variant = cell
    if variant == "compile":
        torch.compiler.reset()  # so that this cell's versions of the functions are the first
    inputs, flops, runs, peaks = [], [], [], []
    for s in subjects:
        given = make_inputs(s.model, s.source.name, batch_size, length, schedule.examples, device)
        try:
            flops.append(count_flops(s.model, given[0]))
            run = make_run(s.model, variant, given[0])
            # A graph allocates when it is captured, not when it runs, and then the same as the eager pass.
            tracked = make_run(s.model, "eager", given[0]) if variant == "cuda-graphs" else run
            peaks.append(peak_memory(s.model, tracked, given[0], device))
        except Exception as error:  # each model, compiler and device fails in ways of its own
            reason = " ".join(str(error).split())[:200]
            hint = "; lower --batch-size" if "memory" in reason.lower() else ""
            raise FactcliError(
                f"{s.source.name} ({type(s.model).__name__}, {variant}) fails on {batch_size} x {length} tokens with "
                f"{type(error).__name__}: {reason}{hint}."
            ) from error
        inputs.append(given)
        runs.append(run)
    samples = alternate(runs, inputs, device, schedule)
    measured = zip(subjects, flops, peaks, samples, strict=True)
    return [_entry(s, cell, schedule.centre, operations, peak, taken) for s, operations, peak, taken in measured]


def _entry(s: Subject, cell: Cell, centre: str, flops: int, peak: int, samples: Samples) -> dict[str, Any]:
    batch_size, length, variant = cell
    times = latency(samples)
    return {
        "model": s.source.name,
        "baseline": False,
        "backend": "torch",
        "precision": None,
        "file": None,
        "class": type(s.model).__name__,
        "parameters": s.parameters,
        "bytes": s.bytes,
        "batch_size": batch_size,
        "sequence_length": length,
        "variant": variant,
        "dtype": str(s.model.dtype).removeprefix("torch."),
        "latency_ms": times,
        "tokens_per_second": 1000 * batch_size * length / times[centre],
        "flops": flops,
        "peak_memory_bytes": peak,
        "accuracy": s.accuracy,
        "samples_ms": samples,
    }
