"""Models as several backends run them, each in a process of its own, all in turns."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import FactcliError
from ..models.loading import count_parameters
from ..models.memory import KEEPS_FREED
from ..models.model import Model, find_model
from ..models.weights import markers
from ..notes import note
from ..progress import part
from ..runtimes.formats import formats
from ..runtimes.running import find_file, parts_of
from ..scores.results import accuracies
from .counting import count_flops
from .inputs import Inputs, make_inputs
from .ratios import latency
from .timing import Cell, Samples, Schedule, in_turns

PAUSE = 0.1  # seconds between turns: threads of a pool look for work for a while after it


@dataclass(frozen=True)
class Runner:
    """One model, as one backend runs it in one precision (None: the model's own); `file` is what it loads."""

    source: Model
    backend: str
    precision: str | None
    file: Path | None

    @property
    def files(self) -> Sequence[Path]:
        return self.source.stored.files if self.file is None else parts_of(self.backend, self.file)

    @property
    def runs(self) -> str | None:
        """The path of its file, as results name it."""
        return None if self.file is None else self.file.relative_to(self.source.path).as_posix()

    @property
    def said(self) -> str:
        return " ".join(filter(None, (self.source.name, self.backend, self.precision)))


class Failed(FactcliError):
    """`runner` does not run."""

    def __init__(self, runner: Runner, why: str) -> None:
        super().__init__(f"{runner.said} fails: {why}")
        self.runner = runner


def runners(names: Sequence[str], backends: Sequence[str], precisions: Sequence[str]) -> list[Runner]:
    """Every combination that there is. Raises FactcliError for a model or a file that is not there; a note says which
    precision a backend does not have."""
    found = []
    for name in names:
        source = find_model(name, weights="torch" in backends, accept_factorized=True)
        for backend in backends:
            for precision in precisions or (None,):
                known = formats[backend].precisions if backend != "torch" else ("float32", "float16", "bfloat16")
                if precision is not None and precision not in known:
                    note(f"{backend} has no {precision}: left out for {name}.")
                    continue
                file = None
                if backend != "torch":
                    wanted = None if precision is None else formats[backend].file(precision)
                    file = find_file(source, backend, wanted)
                found.append(Runner(source, backend, precision, file))
    if not found:
        raise FactcliError("Nothing is left to measure: take another --backend or --precision.")
    return found


def measure_apart(
    chosen: Sequence[Runner],
    cells: Sequence[Cell],
    schedule: Schedule,
    threads: int | None,
) -> list[dict[str, Any]]:
    """An entry of "results" for each cell and runner. Raises Failed where one does not run, FactcliError where there
    are no inputs for one."""
    results = []
    given = {runner.source.name: _given(runner.source, cells, schedule.examples) for runner in chosen}
    with ExitStack() as running:
        workers = [running.enter_context(_worker(runner)) for runner in chosen]
        about = [
            ask(do="load", model=r.source.name, backend=r.backend, precision=r.precision, threads=threads,
                file=None if r.file is None else str(r.file))
            for r, ask in zip(chosen, workers, strict=True)
        ]  # fmt: skip
        for done, cell in enumerate(cells):
            batches = [_plain(given[r.source.name][cell][0]) for r in chosen]
            fastest = [
                ask(do="inputs", batches=b, backend=r.backend)
                for r, ask, b in zip(chosen, workers, batches, strict=True)
            ]
            with part(done, len(cells), "{} x {}".format(*cell)):
                samples = in_turns(_turns(workers), len(workers), max(fastest), schedule)
            results += [
                _entry(r, cell, a, given[r.source.name][cell][1], s, ask(do="memory"), schedule.centre)
                for r, a, s, ask in zip(chosen, about, samples, workers, strict=True)
            ]
    return results


def _given(source: Model, cells: Sequence[Cell], count: int) -> dict[Cell, tuple[list[Inputs], int]]:
    """Inputs of each cell and the FLOPs of a pass: they are the model's, whatever runs it."""
    model = source.load(torch.float32).model if source.weights is not None else source.outline.model
    found = {}
    for cell in cells:
        inputs = make_inputs(model, source.name, cell[0], cell[1], count, torch.device("cpu"))
        on = next(model.parameters()).device
        counted = {k: v.to(on) if isinstance(v, torch.Tensor) else v for k, v in inputs[0].items()}
        found[cell] = inputs, count_flops(model, counted)
    return found


def _plain(inputs: list[Inputs]) -> list[dict[str, Any]]:
    return [{k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in one.items()} for one in inputs]


def _turns(workers: Sequence[Callable[..., Any]]) -> Callable[[int, int], list[float]]:
    """A turn of one of the processes."""

    def turn(k: int, forwards: int) -> list[float]:
        time.sleep(PAUSE)
        times: list[float] = workers[k](do="turn", forwards=forwards)
        return times

    return turn


@contextmanager
def _worker(runner: Runner) -> Iterator[Callable[..., Any]]:
    """A process; gives what asks it. Raises Failed for what it answers with an error."""
    command = [sys.executable, "-m", "factcli.measuring.worker"]
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | KEEPS_FREED | {"PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        requests: IO[str] = process.stdin
        answers: IO[str] = process.stdout

        def ask(**request: Any) -> Any:
            try:
                requests.write(json.dumps(request) + "\n")
                requests.flush()
                answer = json.loads(answers.readline() or '{"error": "its process ended"}')
            except (OSError, ValueError) as error:
                answer = {"error": f"its process does not answer ({error})"}
            if "error" in answer:
                raise Failed(runner, answer["error"])
            return answer["answer"]

        try:
            yield ask
        finally:
            process.kill()


def _entry(
    runner: Runner, cell: Cell, about: dict[str, Any], flops: int, samples: Samples, memory: int, centre: str
) -> dict[str, Any]:
    source, times = runner.source, latency(samples)
    stored = source.weights
    parameters = count_parameters(source.outline.model) if stored is None else stored.parameters
    return {
        "model": source.name,
        "baseline": False,
        "backend": runner.backend,
        "precision": runner.precision,
        "file": runner.runs,
        "factorized": source.factorized,
        "class": about["class"],
        "parameters": parameters if stored is None else parameters - markers(stored, source.raw),
        "bytes": sum(file.stat().st_size for file in runner.files),
        "batch_size": cell[0],
        "sequence_length": cell[1],
        "variant": cell[2],
        "dtype": about["computes"],
        "latency_ms": times,
        "tokens_per_second": 1000 * cell[0] * cell[1] / times[centre],
        "flops": flops,
        "peak_memory_bytes": memory,
        "accuracy": accuracies(source, runner.files, runner.runs),
        "samples_ms": samples,
    }
