"""Directories that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .errors import FactcliError


@contextmanager
def new_directory(output: Path, overwrite: bool) -> Iterator[Path]:
    """A working directory that becomes `output` if the body succeeds and is removed if it fails.

    Raises FactcliError where `output` exists (without `overwrite`) or cannot be made, and for a full disk. Left-overs
    of killed processes are removed first.
    """
    output = output.absolute()
    check_output(output, overwrite)
    for left in output.parent.glob(f".{output.name}.*.partial"):
        if not _alive(left.name.split(".")[-2]):
            shutil.rmtree(left, ignore_errors=True)
    work = output.parent / f".{output.name}.{os.getpid()}.partial"
    try:
        shutil.rmtree(work, ignore_errors=True)
        _make(work)
        yield work
        if output.exists():
            aside = output.parent / f".{output.name}.{os.getpid()}.old.partial"
            output.rename(aside)
            try:
                work.rename(output)
            except OSError:
                aside.rename(output)  # what was there stays
                raise
            shutil.rmtree(aside)
        else:
            work.rename(output)
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            raise FactcliError(
                f"The disk of {output.parent} is full: free some space or choose another --output."
            ) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _make(work: Path) -> None:
    try:
        work.mkdir()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise FactcliError(f"{work.parent} is not writable ({error.strerror}): choose another --output.") from error


def check_output(output: Path, overwrite: bool) -> None:
    """Raises FactcliError where an export could not be written to `output`."""
    output = output.absolute()
    if output.exists() and not output.is_dir():
        raise FactcliError(f"{output} is a file: choose another --output.")
    if output.exists() and not overwrite:
        raise FactcliError(f"{output} exists: give --overwrite to replace it, or another --output.")
    if not output.parent.is_dir():
        raise FactcliError(f"{output.parent} is not a directory: make it, or choose another --output.")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise FactcliError(f"{output.parent} is not writable: choose another --output.")


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True
