"""What an engine is, and how much of this machine a run takes."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .task import Task
from .work import Record, Work

Ended = Callable[[Record], None]
RETRIES = 2  # of a run whose process, or machine, was killed
_OF_A_RUN = 2 * 2**30  # bytes that a run of a small model takes with its libraries


class Engine(Protocol):
    """Carries out tasks, each after those that it names; `ended` is called with the record of each, in this process."""

    def run(self, tasks: Sequence[Task], work: Work, ended: Ended) -> None: ...


@dataclass(frozen=True)
class Slots:
    """How many runs at a time, and the threads of each; `gpus`: one run has one of them."""

    count: int
    threads: int
    gpus: int = 0


def slots(workers: int | None) -> Slots:
    """As many runs as fit: one on each GPU, else one on each core, or on each OMP_NUM_THREADS of them, as far as
    memory goes. With `workers` that many, which part the cores."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = torch.cuda.device_count()
    wished = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(wished) if wished.isdecimal() and int(wished) else 0
    if workers is None:
        workers = gpus or max(1, min(cores // (threads or 1), _memory() // _OF_A_RUN))
    return Slots(workers, threads or max(1, cores // workers), gpus)


def _memory() -> int:
    """Bytes that are free on this machine, or those it has."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        with_pages = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if with_pages else 8 * 2**30
