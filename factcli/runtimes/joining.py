"""Files that join a model's directory, whole or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FactcliError, Lacking
from ..files import atomic as files
from ..files.outputs import is_full

_NAME = "runtimes"  # of the hidden folder that they are made in, and of its lock
_LITTLE = 2**24  # bytes: with less than that left a runtime's failure to write is that of the disk


def check_free(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Raises FactcliError where a file is there already, or none can be written. What killed processes left goes."""
    with suppress(files.Busy, OSError), files.locked(files.lock_of(folder / _NAME)) as held:
        files.recover(folder / _NAME, held)
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise FactcliError(f"{folder / there[0]} exists: give --overwrite to replace it, or an --output.")
    linked = [name for name in names if (folder / name).parent.is_symlink()]
    if linked:
        raise FactcliError(f"{(folder / linked[0]).parent} is a symbolic link: give an --output.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FactcliError(f"{folder} is not writable: give an --output.")


@contextmanager
def joining(folder: Path) -> Iterator[Path]:
    """A working directory in `folder`. When the body succeeds, each directory in it takes its place there in one step,
    with what it had before; else everything is as it was. What killed processes left is cleared away.

    Raises FactcliError where another process is at it, and for a full disk.
    """
    hidden = folder / _NAME
    try:
        with files.locked(files.lock_of(hidden)) as held:
            files.recover(hidden, held)
            work = files.hidden(hidden, files.PARTIAL)
            try:
                with told_when_full(folder):
                    work.mkdir()
                    yield work
                    for made in sorted(p for p in work.iterdir() if p.is_dir()):
                        files.recover(folder / made.name, held)
                        _fill(made, folder / made.name)
                        files.put(made, folder / made.name)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except files.Busy as error:
        raise FactcliError(f"{folder} is being written by another process: wait until it is done.") from error


def _fill(made: Path, before: Path) -> None:
    """Take along what stands in a directory that is replaced, without copying where links can be had."""
    for file in sorted(before.rglob("*")) if before.is_dir() else ():
        target = made / file.relative_to(before)
        if file.is_dir() and not file.is_symlink():
            target.mkdir(exist_ok=True)
        elif not os.path.lexists(target):
            try:
                os.link(file, target, follow_symlinks=False)
            except OSError:
                shutil.copy2(file, target, follow_symlinks=False)


@contextmanager
def told_when_full(folder: Path) -> Iterator[None]:
    """The sentence for a disk that is full, whatever a runtime says of it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        free = _LITTLE
        with suppress(OSError):
            free = shutil.disk_usage(folder).free
        if isinstance(error, FactcliError) or (free >= _LITTLE and not is_full(error)):
            raise
        raise Lacking(f"The disk of {folder} is full: free some space or give an --output.") from error
