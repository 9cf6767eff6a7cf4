"""A process of its own for one model, as one backend runs it: reads requests, a line of JSON each, and answers so.

    python -m factcli.measuring.worker

So thread pools, allocators and memory of one runtime do not meet those of another.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FactcliError
from ..models.model import find_model
from ..runtimes.formats import Batch
from ..runtimes.running import open_file
from .inputs import Inputs
from .timing import time_ms, warm_up

_CPU = torch.device("cpu")


class Worker:
    """`load`, then for each cell `inputs`, then `turn` after `turn`, and `memory` in the end."""

    def __init__(self) -> None:
        self.run: Any = None
        self.batches: list[Inputs] = []

    def load(self, model: str, backend: str, precision: str | None, file: str | None, threads: int | None) -> Any:
        """Gives the class that answers and the precision that is computed in."""
        if backend != "torch":
            assert file is not None
            session = open_file(backend, Path(file), threads)
            self.run = session.run
            return {"class": type(session).__name__, "computes": session.computes}
        if threads is not None:
            torch.set_num_threads(threads)
        source = find_model(model, accept_factorized=True)
        loaded = source.load(getattr(torch, precision) if precision else None).model
        loaded.train(False)

        def run(batch: Batch) -> Any:
            with torch.inference_mode():
                return loaded(**batch)

        self.run = run
        return {"class": type(loaded).__name__, "computes": str(loaded.dtype).removeprefix("torch.")}

    def inputs(self, batches: list[dict[str, Any]], backend: str) -> Any:
        """Take the inputs of a cell, and run until it is warm. Gives the fastest pass in milliseconds."""
        self.batches = [{name: _values(v, backend) for name, v in batch.items()} for batch in batches]
        return warm_up(self.run, self.batches[0], _CPU)

    def turn(self, forwards: int) -> Any:
        """Milliseconds of so many passes."""
        return [time_ms(self.run, self.batches[i % len(self.batches)], _CPU) for i in range(forwards)]

    def memory(self) -> Any:
        """The most that this process has held, in bytes."""
        import resource

        status = Path("/proc/self/status")  # where getrusage counts what the parent held as it started this one
        if status.is_file():
            peaks = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            return 1024 * int(peaks[0][1])
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most


def _values(value: Any, backend: str) -> Any:
    if not isinstance(value, list):
        return value
    return torch.tensor(value) if backend == "torch" else np.array(value, dtype=np.int64)


def main() -> None:
    # What libraries print goes to stderr: stdout is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(worker, request.pop("do"))(**request)}
        except FactcliError as error:
            answer = {"error": str(error)}
        except Exception as error:  # each model and runtime fails in ways of its own
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
