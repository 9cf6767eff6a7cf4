"""Where a command writes: what may be replaced, what never, and one process at a time."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from ..errors import CheckFailed, FactcliError, Lacking
from . import atomic as files
from .written import foreign, sign

UNCHECKED, NEW = "unchecked", "new"  # what could not take its place is kept under such a name
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPARED = re.compile(rf"\.({UNCHECKED}|{NEW})(-\d+)?$")


@dataclass(frozen=True)
class Input:
    """What a command reads, and what to call it."""

    said: str
    path: Path


def inputs(*named: tuple[str, str | Path | None]) -> tuple[Input, ...]:
    """The files and directories among what a command was given: ("the source", MODEL), ("--teacher", None)…"""
    found = [(said, name, Path(os.path.expanduser(name))) for said, name in named if name is not None]
    return tuple(Input(f"{said} {name}", path) for said, name, path in found if path.exists())


class Output:
    """The directory `given` as the place of a result. A symbolic link stands for what it points to.

    `read` are the inputs that must stay as they are. `beside` are the folders of a run, such as `NAME-checkpoints`,
    that it may clear away as well. `shown` is the name for the user, where it is moved later.
    """

    def __init__(
        self,
        given: str | Path,
        overwrite: bool = False,
        read: Sequence[Input] = (),
        beside: Sequence[str] = (),
        shown: Path | None = None,
    ) -> None:
        self.given, self.overwrite, self.read = Path(os.path.expanduser(given)), overwrite, tuple(read)
        self.shown = shown or self.given
        try:
            whole = self.given.is_symlink() or self.given.name in ("", "..")
            self.path = self.given.resolve() if whole else self.given.absolute()
        except (OSError, RuntimeError) as error:
            raise FactcliError(f"{given} is a symbolic link in a circle: choose another --output.") from error
        self._beside = [self.beside(name) for name in beside]
        self._holds = 0

    def beside(self, what: str) -> Path:
        """The folder `NAME-what`."""
        return self.path.with_name(f"{self.path.name}-{what}")

    def check(self) -> None:
        """Raises FactcliError where nothing may be written: what is there is not ours to replace, or is read, or the
        place is none. Reads only; what is there is looked at again when it is replaced."""
        path, said = self.path, self.given
        for where, named in ((Path.home, "a home directory"), (Path.cwd, "the directory that this runs in")):
            with suppress(OSError, RuntimeError):  # there may be none
                if any(_same(path, p) for p in _around(where())):
                    raise FactcliError(f"{said} is {named}, or holds it: choose another --output.")
        for each in self.read:
            if _same(path, each.path):
                raise FactcliError(f"{said} is {each.said}, which stays as it is: choose another --output.")
            for place in (path, *self._beside):
                if any(_same(place, p) for p in _around(each.path)):
                    shown = said if place is path else place
                    raise FactcliError(f"{shown} holds {each.said}, which stays as it is: choose another --output.")
            if each.path.is_dir() and any(_same(p, each.path) for p in path.parents):
                raise FactcliError(f"{said} lies in {each.said}: choose an --output outside of it.")
        if path.exists():
            self._check_replaceable()
        if not path.parent.is_dir():
            raise FactcliError(f"{path.parent} is not a directory: make it, or choose another --output.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise FactcliError(f"{path.parent} is not writable: choose another --output.")

    def _check_replaceable(self) -> None:
        if not self.path.is_dir():
            raise FactcliError(f"{self.given} is a file: choose another --output.")
        if os.path.ismount(self.path):
            raise FactcliError(f"{self.given} is a mount point: choose an --output in it.")
        try:
            strange = foreign(self.path)
        except OSError as error:
            strange = f"cannot be read ({error.strerror})"
        if strange is not None:
            raise FactcliError(
                f"{self.given} exists and {strange}, so --overwrite does not replace it: choose another --output."
            )
        if not self.overwrite:
            raise FactcliError(f"{self.given} exists: give --overwrite to replace it, or another --output.")

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the body runs no other process writes here. What killed ones left is put right first; within itself it
        does nothing.

        Raises FactcliError as `check`, and where another process is at it.
        """
        if self._holds:
            yield
            return
        self.check()
        self._try()
        try:
            with files.locked(files.lock_of(self.path)) as held:
                files.recover(self.path, held)
                self.check()
                self._holds += 1
                try:
                    yield
                finally:
                    self._holds -= 1
        except files.Busy as error:
            raise FactcliError(
                f"{self.given} is being written by another process: wait until it is done, or choose another --output."
            ) from error

    def _try(self) -> None:
        """A directory is made and removed: rights alone do not tell (a read-only disk, a name that is too long)."""
        probe = files.hidden(self.path, files.PARTIAL)
        try:
            probe.mkdir()
        except OSError as error:
            raise self._told(error) from error
        finally:
            with suppress(OSError):
                probe.rmdir()

    def _told(self, error: OSError | SafetensorError) -> FactcliError:
        """The sentence for a disk that does not take what is written."""
        if is_full(error):
            return Lacking(f"The disk of {self.path.parent} is full: free some space or choose another --output.")
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        return Lacking(f"{self.path.parent} is not writable ({reason}): choose another --output.")

    @contextmanager
    def new(self) -> Iterator[Path]:
        """A working directory that has this name when the body succeeds, and is removed when it fails. Where the body
        raises CheckFailed, or something is in the way by then, it is kept under a name that the error says.

        Raises FactcliError as `held`, and for a full disk.
        """
        with self.held():
            work = files.hidden(self.path, files.PARTIAL)
            try:
                work.mkdir()
                yield work
                sign(work)
            except CheckFailed as error:
                kept = self._keep(work, UNCHECKED)
                raise CheckFailed(f"{error} What was written is kept in {kept}.") from error
            except BaseException as error:
                shutil.rmtree(work, ignore_errors=True)
                if isinstance(error, (OSError, SafetensorError)) and is_full(error):
                    raise self._told(error) from error
                raise
            self.take(work)

    def take(self, folder: Path, at_once: bool = True) -> None:
        """`folder` gets this name, now that it is whole (see `files.put`). Where it cannot, it is kept under a name
        that the error says."""
        with self.held():
            try:
                self.check()
                files.put(folder, self.path, at_once)
            except (FactcliError, OSError) as error:
                if not folder.is_dir():
                    raise
                reason = str(error)
                if isinstance(error, OSError):
                    reason = f"{self.given} cannot be replaced ({error.strerror or error})."
                raise FactcliError(f"{reason} The result is whole in {self._keep(folder, NEW)}.") from error

    def _keep(self, folder: Path, kind: str) -> Path:
        """Name it NAME.kind, or NAME.kind-2 and so on: nothing is replaced."""
        number, name = 1, f"{self.path.name}.{kind}"
        while os.path.lexists(self.path.with_name(name)):
            number += 1
            name = f"{self.path.name}.{kind}-{number}"
        try:
            folder.rename(self.path.with_name(name))
        except OSError:
            return folder
        return (self.path if self.given.is_symlink() else self.given).with_name(name)


@contextmanager
def workspace(place: Output | None) -> Iterator[Path]:
    """A directory beside `place`, which whoever writes there next clears away if this process is killed; or where
    temporary files are. It is gone after the body. Raises FactcliError for a full disk."""
    work = files.hidden(place.path, files.PARTIAL) if place is not None else Path(tempfile.mkdtemp(prefix="factcli-"))
    try:
        work.mkdir(exist_ok=True)
        yield work
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        raise Lacking(f"The disk of {work.parent} is full: free some space or choose another --output.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def is_full(error: Exception) -> bool:
    """Whether it is that of a disk without room, or of one that gives no more of it to this user or this file."""
    said = str(error)  # by libraries that keep no number
    return getattr(error, "errno", None) in _FULL or any(
        f"(os error {n})" in said or os.strerror(n) in said for n in _FULL
    )


def _around(path: Path) -> list[Path]:
    real = path.resolve()
    return [real, *real.parents]


def _same(a: Path, b: Path) -> bool:
    """The same file or directory, by whatever name: links, letters of another case, another mount."""
    try:
        return a.samefile(b)
    except OSError:
        return False
