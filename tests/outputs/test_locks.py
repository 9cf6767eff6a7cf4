"""One process at a time writes an output, also where the disk has no locks."""

from pathlib import Path
from typing import Any

import pytest

from factcli.errors import FactcliError
from factcli.files import atomic as files

from .writers import WRITES, read, start, write


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(WRITES, out, "waiting")
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    with pytest.raises(FactcliError, match="out is being written by another process: wait"):
        write(out, "mine", overwrite=True)
    write(tmp_path / "out2", "mine")  # another name is free
    assert process.communicate("\n", timeout=60)[0] == ""
    assert read(out) == "new"
    write(out, "mine", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out2"]
    process = start(WRITES, out, "waiting")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.communicate()
    write(out, "after", overwrite=True)  # the system has freed the lock of who was killed
    assert read(out) == "after"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out2"]


def test_without_locks_what_is_young_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network disks have none: then another process's work is told from a left-over by its age."""

    def none(*_: Any, **__: Any) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    young, old = (tmp_path / f".out.{name * 6}.partial" for name in ("aa", "bb"))
    for folder in (young, old):
        folder.mkdir()
        (folder / "weights").write_text("")
    monkeypatch.setattr(files, "_deserted", lambda path: path == old)
    write(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, "out"]
