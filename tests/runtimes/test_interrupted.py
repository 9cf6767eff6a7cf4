"""Files join a directory whole or not at all: killed processes, full disks, and two at once."""

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import factcli

from ..processes import Python
from ..training_helpers import save_model

ONE = {"num_hidden_layers": 1}
EXPORT = """
import os, signal, sys, time
import factcli

model, moment = sys.argv[1:3]

def progress(done, total, name):
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    if moment == "waiting" and name == "graph":
        open(sys.argv[3], "w").close()
        while os.path.exists(sys.argv[3]):
            time.sleep(0.01)

try:
    factcli.export(model, format="onnx", progress=progress)
except factcli.FactcliError as error:
    sys.exit(str(error))
"""
FULL = """
import resource, signal, sys
import factcli

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
output = {"output": sys.argv[2]} if len(sys.argv) > 2 else {}
try:
    factcli.export(sys.argv[1], format="onnx", **output)
except factcli.FactcliError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "m", "bert", "BertForSequenceClassification", **ONE)


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_killed_while_it_checks(model: Path, python: Python) -> None:
    """The file is whole by then, but nobody has looked at it: it has no final name."""
    before = names(model)
    done = python.run("-c", EXPORT, model, "onnx float32, checking")
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = names(model) - before
    assert left
    assert all(name.startswith(".runtimes.") for name in left)
    factcli.export(str(model), format="onnx")
    assert names(model) - before == {"onnx", "onnx/model.onnx"}


def test_two_at_once(model: Path, python: Python, tmp_path: Path) -> None:
    before, flag = names(model), tmp_path / "waiting"
    first = python.start("-c", EXPORT, model, "waiting", flag)
    while not flag.exists():
        assert first.poll() is None
        time.sleep(0.02)
    with pytest.raises(factcli.FactcliError, match="m is being written by another process: wait until it is done"):
        factcli.export(str(model), format="openvino")
    flag.unlink()
    assert first.wait() == 0
    assert names(model) - before == {"onnx", "onnx/model.onnx"}


def test_interrupted_by_the_user(model: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        if name == "onnx float32":
            raise KeyboardInterrupt

    before = names(model)
    with pytest.raises(KeyboardInterrupt):
        factcli.export(str(model), format="onnx", progress=stop)
    assert names(model) == before


@pytest.mark.parametrize("own", [False, True])
def test_a_file_that_cannot_be_written_whole(own: bool, model: Path, python: Python, tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    before = names(tmp_path)
    done = python.run("-c", FULL, model, *([tmp_path / "out"] if own else []))
    assert done.returncode == 1
    place = tmp_path if own else model
    assert done.stderr.splitlines()[-1] == f"The disk of {place} is full: free some space or give an --output."
    assert names(tmp_path) == before


PAGE = 4096  # what a disk in memory gives a file at a time


@pytest.fixture
def small_disk(model: Path, tmp_path: Path) -> Iterator[Path]:
    """With room for the model and its graph, but not for a file made from that."""
    folder = tmp_path / "disk"
    folder.mkdir()
    factcli.export(str(model), output=str(tmp_path / "elsewhere"), format="onnx")
    graph = (tmp_path / "elsewhere" / "onnx" / "model.onnx").stat().st_size
    taken = sum(-(-f.stat().st_size // PAGE) * PAGE if f.is_file() else PAGE for f in model.rglob("*"))
    room = f"size={(taken + graph * 3 // 2) // 1024}k"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", room, "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no right to mount a small disk: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # a runtime may still have a file of it in memory


def test_a_full_disk(model: Path, small_disk: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(model, small_disk / "m"))
    before = names(small_disk)
    for wanted in ("onnx", "openvino"):
        with pytest.raises(factcli.FactcliError) as refused:
            factcli.export(str(there), format=wanted)
        assert str(refused.value) == f"The disk of {there} is full: free some space or give an --output."
        assert names(small_disk) == before
