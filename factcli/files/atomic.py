"""Files and directories that appear whole or not at all, and locks between processes.

What is not whole yet, and what a new directory takes the place of, has a hidden name beside the final one. Whoever
holds the lock of a name may clear away what killed processes left there: no process ids, which other machines and
containers that share the disk give anew.
"""

import ctypes
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

PARTIAL, OLD, LOCK = "partial", "old", "lock"
DAY = 24 * 60 * 60  # seconds after which what nobody writes to is a left-over, where locks cannot tell
_SWAP = 2  # RENAME_EXCHANGE of linux/fs.h


class Busy(Exception):
    """Another process holds the lock."""


def hidden(path: Path, kind: str) -> Path:
    """A new name beside `path` for what is on its way to there, or away."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{kind}")


def left_over(path: Path, kind: str) -> list[Path]:
    """What has such a name of `path`."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}\.{kind}")
    return sorted(p for p in path.parent.iterdir() if name.fullmatch(p.name)) if path.parent.is_dir() else []


def lock_of(path: Path) -> Path:
    """The lock file of a name."""
    return path.with_name(f".{path.name}.{LOCK}")


# --- files


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` when the body succeeds; else `file` is as it was."""
    part = hidden(file, PARTIAL)
    try:
        yield part
        if file.is_file():
            shutil.copymode(file, part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """UTF-8, whole or not at all."""
    with whole(file) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(file: Path, values: Any) -> None:
    """Whole or not at all."""
    write_text(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def updating(file: Path) -> Iterator[None]:
    """Around reading `file` and writing it anew: processes that do so wait for each other."""
    with locked(lock_of(file), wait=True) as held:
        if held:
            for part in left_over(file, PARTIAL):
                part.unlink(missing_ok=True)
        yield


# --- directories


def put(new: Path, path: Path, at_once: bool = True) -> None:
    """Give the directory `new` the name `path`, on the same disk; what has it is removed. Call it with the lock held.

    With `at_once` the two change places in one step, where the system can; what is killed then leaves the old one under
    the name of `new`. Else, between two steps, the old one has a hidden name from which `recover` brings it back.
    """
    if not path.exists():
        new.rename(path)
        return
    if at_once and _exchange(new, path):
        _remove(new)
        return
    old = hidden(path, OLD)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    gone = hidden(path, PARTIAL)  # half removed it must not come back
    old.rename(gone)
    _remove(gone)


def recover(path: Path, held: bool = True) -> None:
    """Put right what killed processes left of `path`: nothing is lost, and nothing stays. Call it with the lock held;
    where locks cannot be had, what is young may be another process's."""
    for old in left_over(path, OLD):
        if not (held or _deserted(old)):
            continue
        if os.path.lexists(path):
            _remove(old)
        else:
            old.rename(path)
    for part in left_over(path, PARTIAL):
        if held or _deserted(part):
            _remove(part)


def recover_missing(path: Path) -> None:
    """As `recover`, for who only reads: where `path` is not there since a process was killed as it replaced it."""
    with suppress(OSError, Busy):
        if not os.path.lexists(path) and left_over(path, OLD):
            with locked(lock_of(path)) as held:
                recover(path, held)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step; False where the system cannot: not Linux, or some network disks."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here = -100  # AT_FDCWD: relative paths are to the working directory
    return rename is not None and rename(here, os.fsencode(a), here, os.fsencode(b), _SWAP) == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _deserted(path: Path) -> bool:
    newest = 0.0
    for each in (path, *path.rglob("*")):
        with suppress(OSError):
            newest = max(newest, each.lstat().st_mtime, each.lstat().st_ctime)
    return time.time() - newest > DAY


# --- locks


@contextmanager
def locked(file: Path, wait: bool = False, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock `file`, which is there only as long as it is needed; the system frees that of a killed process.

    Gives False where the disk has no locks or may not be written to. Raises Busy where another process (or thread)
    holds it, unless told to `wait`, which begins with a call of `waiting`.
    """
    lock = FileLock(file, fallback_to_soft=False)  # soft ones outlive their process
    held = False
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Busy(str(file)) from None
            waiting()
            lock.acquire(poll_interval=0.2)
        held = True
    except (OSError, NotImplementedError):
        lock.release(force=True)
    try:
        yield held
    finally:
        if held:
            # Removed while it is held: who waits for it sees that it is gone and makes another (Windows removes it at
            # the release).
            with suppress(OSError):
                file.unlink()
            lock.release()
