"""Runs in processes of this machine: one for each slot, which stays for many runs, so that torch is imported once."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for

from .engine import RETRIES, Ended, Slots
from .task import FAILED, Task
from .work import Record, Work, carry_out

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Pool:
    """An executor of one process a slot: a process that is killed takes its own run with it, and no other."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def run(self, tasks: Sequence[Task], work: Work, ended: Ended) -> None:
        """As Engine says."""
        waiting, records, tried = deque(tasks), dict[str, Record](), dict[str, int]()
        mine = {task.id for task in tasks}
        others = set(multiprocessing.active_children())
        free = list(range(min(self.slots.count, len(tasks))))
        processes = [self._process(slot) for slot in free]
        busy: dict[Future[Record], tuple[Task, int]] = {}
        try:
            while waiting or busy:
                while free and (task := _next(waiting, mine, records)) is not None:
                    slot = free.pop(0)
                    before = [records[id] for id in task.after if id in records]
                    try:
                        future = processes[slot].submit(carry_out, work, task, *before)
                    except BrokenProcessPool:  # its process was killed while it had nothing to do
                        processes[slot] = self._replaced(processes[slot], slot)
                        future = processes[slot].submit(carry_out, work, task, *before)
                    busy[future] = task, slot
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    task, slot = busy.pop(future)
                    free.append(slot)
                    try:
                        record = future.result()
                    except BrokenProcessPool:
                        processes[slot] = self._replaced(processes[slot], slot)
                        tried[task.id] = tried.get(task.id, 0) + 1
                        if tried[task.id] <= RETRIES:
                            waiting.appendleft(task)
                            continue
                        record = killed(task, "its process was killed, perhaps for want of memory")
                    records[task.id] = record
                    ended(record)
        finally:
            for executor in processes:
                executor.shutdown(wait=not busy, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others if busy else ():
                child.terminate()

    def _replaced(self, broken: ProcessPoolExecutor, slot: int) -> ProcessPoolExecutor:
        broken.shutdown(wait=False)
        return self._process(slot)

    def _process(self, slot: int) -> ProcessPoolExecutor:
        gpu = slot % self.slots.gpus if self.slots.gpus else None
        return ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(self.slots.threads, gpu)
        )


def killed(task: Task, why: str) -> Record:
    """The record of a run that ended without one, several times."""
    return task.planned() | {"state": FAILED, "error": f"{why}, {RETRIES + 1} times.", "lasting": False}


def _next(waiting: deque[Task], mine: set[str], records: dict[str, Record]) -> Task | None:
    """The first whose parts are there."""
    for task in waiting:
        if all(id in records for id in task.after if id in mine):
            waiting.remove(task)
            return task
    return None


def _begin(threads: int, gpu: int | None) -> None:
    """In a new process, before torch: its share of the machine; and it ends with the one that started it."""
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    if gpu is not None:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[gpu] if seen else str(gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver says when to stop
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait_for([driver.sentinel])
        os._exit(1)
