"""What comes of a run: failures that last and those that pass, trainings that diverge, processes and folders."""

import errno
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import errors

from factcli.errors import FactcliError, Lacking
from factcli.files.outputs import Output
from factcli.hub.failures import failure
from factcli.models.devices import pick_device
from factcli.models.memory import memory_advice
from factcli.sweeping.cells import DIVERGED, cell_of
from factcli.sweeping.engine import Slots
from factcli.sweeping.identity import code_version
from factcli.sweeping.pool import Pool
from factcli.sweeping.store import Store
from factcli.sweeping.work import Record, Work, carry_out

from ..conftest import ROOT
from .test_store import task


def out_of_memory(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    with memory_advice(8):
        raise torch.OutOfMemoryError("CUDA out of memory")


def wrong(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    raise FactcliError("The training diverged at learning rate 1.")


def quick(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"process": os.getpid()}


def test_what_a_machine_lacked_does_not_last(tmp_path: Path) -> None:
    found = {
        perform: carry_out(Work(str(tmp_path), perform, "driver", 1, code_version()), task("run"))
        for perform in (out_of_memory, wrong)
    }
    assert found[out_of_memory]["error"].startswith("Out of memory: lower --batch-size (now 8)")
    assert [found[each]["lasting"] for each in (out_of_memory, wrong)] == [False, True]


def test_what_passes() -> None:
    full = Output(Path("out"))._told(OSError(errno.ENOSPC, "No space left on device"))
    away, unknown = failure(ConnectionError(), "own/name"), failure(errors.HFValidationError(), "a/b/c")
    assert (full.passing, away.passing, unknown.passing) == (True, True, False)
    if not torch.cuda.is_available():
        with pytest.raises(Lacking, match="--device cuda is not there"):
            pick_device("cuda")


def test_what_needs_a_training_that_diverged_has_not(tmp_path: Path) -> None:
    work = Work(str(tmp_path), wrong, "driver", 1, code_version())
    part = carry_out(work, task("dense"))
    follows = carry_out(work, task("run", ("dense",)), part)
    cells = [cell_of([record], "metrics.accuracy") for record in (part, follows)]
    assert follows["error"] == "dense failed: The training diverged at learning rate 1."
    assert [(cell.failed, cell.errors) for cell in cells] == [(1, 0), (0, 1)]
    said = (ROOT / "docs" / "reference" / "errors.md").read_text()
    assert all(f"| 1 | {sentence} " in said for sentence in DIVERGED)


def test_a_process_that_dies_with_nothing_to_do(tmp_path: Path) -> None:
    """Between two runs, of which the second goes on in another one."""
    me = psutil.Process()
    work = Work(str(tmp_path), quick, "driver", 1, code_version())
    ended: list[Record] = []

    def killing(record: Record) -> None:
        ended.append(record)
        if len(ended) == 1:
            workers = [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]
            for worker in workers:
                os.kill(worker.pid, signal.SIGKILL)
            psutil.wait_procs(workers, 20)
            time.sleep(0.5)  # until the executor has seen it

    Pool(Slots(1, 1)).run([task("one"), task("two", ("one",))], work, killing)
    assert [record["state"] for record in ended] == ["done", "done"]
    assert ended[0]["result"]["process"] != ended[1]["result"]["process"]


def test_a_folder_with_brackets(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "results[1]"))
    store.write("results/one.json", {"state": "done"})
    assert store.read_all("results") == {"one": {"state": "done"}}
    with pytest.raises(FactcliError, match=r"choose an --output without \*, \? and \["):
        Store("memory://results[1]")


class Closed(MemoryFileSystem):
    """Of somebody else."""

    protocol = "closed"

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_folder_that_may_not_be_read() -> None:
    fsspec.register_implementation("closed", Closed, clobber=True)
    store = Store("closed://bucket")
    for look in (store.check_own, lambda: store.read_all("results")):
        with pytest.raises(FactcliError, match=r"Cannot read closed://bucket \(Permission denied\): make it readable"):
            look()


def test_a_workplace_leaves_those_of_others(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.workplace("one") as place:
        assert place.is_dir()
    assert os.listdir(tmp_path / "work") == []
