"""The folder of a sweep, on any path that fsspec knows: its plan, one JSON a result, models that runs share.

What is read may be half written on some file systems: it is as if it were not there, and is made again.
"""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from ..errors import FactcliError
from ..files.atomic import write_text

PLAN, DRIVER, RESULTS, MARKS, MODELS, WORK = "sweep.json", "driver.json", "results", "running", "models", "work"
_OWN = (PLAN, DRIVER, RESULTS, MARKS, MODELS, WORK)
_AT_ONCE = 32  # files of a bucket
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Store:
    """Raises FactcliError for a path that fsspec does not know, and for what cannot be read or written."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise FactcliError(f"Cannot use {url}: {' '.join(str(error).split())}") from error
        self.local = Path(self.root) if isinstance(self.fs, LocalFileSystem) else None
        if self.local is None and has_magic(self.root):  # which some of its calls would fill in
            raise FactcliError(f"Cannot use {url}: choose an --output without *, ? and [.")

    @property
    def is_memory(self) -> bool:
        """Seen by this process only."""
        return "memory" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    def check_own(self) -> None:
        """Raises FactcliError for a folder in which no sweep was begun and that holds anything but results: names of
        ours in it may be those of others, and would be written over."""
        plan = self.read(PLAN)
        if isinstance(plan, dict) and "runs" in plan:
            return
        names = [Path(name).name for name in self._listed(self.root)]
        strange = sorted(name for name in names if name != RESULTS and not name.startswith("."))
        if strange:
            raise FactcliError(
                f"{self.url} holds {strange[0]}, which is not of a sweep: give a folder of its own as --output."
            )

    def is_own(self, file: Path) -> bool:
        """Whether a file of this machine would be among those that a sweep keeps here."""
        if self.local is None or not file.resolve().is_relative_to(self.local.resolve()):
            return False
        return (*file.resolve().relative_to(self.local.resolve()).parts, "")[0] in _OWN

    # --- JSON files

    def make(self) -> None:
        """The folder, where a lock can then be; buckets have none."""
        if self.local is not None:
            with self._told():
                self.local.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, values: Any) -> None:
        """Whole or not at all, where the file system can."""
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        with self._told():
            if self.local is not None:
                (self.local / name).parent.mkdir(parents=True, exist_ok=True)
                write_text(self.local / name, text)
            else:
                self.fs.pipe_file(f"{self.root}/{name}", text.encode())

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The sentence for what cannot be written."""
        try:
            yield
        except Exception as error:  # every file system has its own
            full = getattr(error, "errno", None) in _FULL
            more = "make room and call again" if full else "choose another --output, or make it writable"
            raise FactcliError(
                f"Cannot write to {self.url} ({_said(error)}): {more}; results that are there stay."
            ) from error

    def read(self, name: str) -> Any:
        """None where there is nothing whole."""
        with suppress(Exception):
            return json.loads(self.fs.cat_file(f"{self.root}/{name}"))
        return None

    def read_all(self, folder: str) -> dict[str, Any]:
        """Name without suffix -> content."""
        self.fs.invalidate_cache()
        names = [Path(name).name for name in self._listed(f"{self.root}/{folder}") if name.endswith(".json")]
        with ThreadPoolExecutor(_AT_ONCE) as readers:  # `cat` would expand brackets
            each = map if self.local is not None else readers.map
            found = zip(names, each(lambda name: self.read(f"{folder}/{name}"), names), strict=True)
            return {Path(name).stem: content for name, content in found if content is not None}

    def _listed(self, folder: str) -> list[str]:
        """Full names; none where there is no such folder."""
        try:
            return [str(name) for name in self.fs.ls(folder, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # every file system has its own
            raise FactcliError(
                f"Cannot read {self.url} ({_said(error)}): make it readable, or choose another --output."
            ) from error

    def remove(self, name: str) -> None:
        """A file or a folder, if it is there."""
        with suppress(Exception):
            self.fs.rm(f"{self.root}/{name}", recursive=True)

    # --- models

    def has_model(self, id: str) -> bool:
        """Whether the model of a run is there, whole."""
        return bool(self.fs.exists(f"{self.root}/{MODELS}/{id}/config.json"))

    def put_model(self, id: str, model: Path) -> None:
        """Keep a model; who looks for it before the run's result is there does not count on it."""
        if self.local is None:
            self.remove(f"{MODELS}/{id}")
            self.fs.put(f"{model}/", f"{self.root}/{MODELS}/{id}/", recursive=True)
            return
        place = self.local / MODELS / id
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        model.replace(place)

    def get_model(self, id: str, place: Path) -> Path:
        """Its directory, copied below `place` where it is elsewhere."""
        if self.local is not None:
            return self.local / MODELS / id
        target = place / f"part-{id}"
        self.fs.get(f"{self.root}/{MODELS}/{id}/", f"{target}/", recursive=True)
        return target

    @contextmanager
    def workplace(self, id: str) -> Iterator[Path]:
        """A directory for the time of a run; what a killed one left goes first."""
        if self.local is None:
            with tempfile.TemporaryDirectory(prefix="factcli-") as place:
                yield Path(place)
            return
        own = self.local / WORK / id
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
