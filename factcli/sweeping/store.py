"""The folder of a sweep, on any path that fsspec knows: its plan, one JSON a result, models that runs share.

What is read may be half written on some file systems: it is as if it were not there, and is made again.
"""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..errors import FactcliError
from ..files.atomic import write_text

PLAN, DRIVER, RESULTS, MARKS, MODELS, WORK = "sweep.json", "driver.json", "results", "running", "models", "work"
_OWN = (PLAN, DRIVER, RESULTS, MARKS, MODELS, WORK)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Store:
    """Raises FactcliError for a path that fsspec does not know, and for what cannot be written."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.fs, self.root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise FactcliError(f"Cannot use {url}: {' '.join(str(error).split())}") from error
        self.local = Path(self.root) if isinstance(self.fs, LocalFileSystem) else None

    @property
    def is_memory(self) -> bool:
        """Seen by this process only."""
        return "memory" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    def check_own(self) -> None:
        """Raises FactcliError for a folder in which no sweep was begun and that holds anything but results: names of
        ours in it may be those of others, and would be written over."""
        plan, names = self.read(PLAN), list[str]()
        if isinstance(plan, dict) and "runs" in plan:
            return
        with suppress(FileNotFoundError, NotADirectoryError):
            names = [Path(str(name)).name for name in self.fs.ls(self.root, detail=False)]
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
        found: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            names = [name for name in self.fs.ls(f"{self.root}/{folder}", detail=False) if str(name).endswith(".json")]
            content: Mapping[str, bytes] = self.fs.cat(names, on_error="omit") if names else {}
            for name, data in content.items():
                with suppress(ValueError):
                    found[Path(name).stem] = json.loads(data)
        return found

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
            with suppress(OSError):
                own.parent.rmdir()  # of the last one


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
