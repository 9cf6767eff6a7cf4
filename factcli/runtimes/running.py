"""The files of a model that a backend can run: which there are, and the one that is meant."""

import os
from pathlib import Path

from ..errors import FactcliError, UsageError
from ..files.atomic import recover_missing
from ..models.model import Model
from .formats import Session, formats


def find_file(source: Model, backend: str, file: str | None = None) -> Path:
    """The file of a model for a backend: `file`, a path in its directory, else the most exact that is there. Raises
    FactcliError where there is none."""
    one = formats[backend]
    recover_missing(source.path / backend)
    if file is not None:
        found = source.path / file
        if not found.is_file() or found.suffix != Path(one.file("float32")).suffix:
            raise FactcliError(f"{source.name} has no file {file} for {one.title}: {_there(source, backend)}.")
        return found
    named = [source.path / one.file(precision) for precision in one.precisions]
    there = [path for path in [*named, *files_in(source.path, backend)] if path.is_file()]
    if not there:
        raise FactcliError(f"{source.name} has no file for {one.title}: {_there(source, backend)}.")
    return there[0]


def _there(source: Model, backend: str) -> str:
    found = [os.fspath(path.relative_to(source.path)) for path in files_in(source.path, backend)]
    return (
        f"there are {', '.join(found)}" if found else f"make one with 'factcli export {source.name} --format {backend}'"
    )


def files_in(folder: Path, backend: str) -> list[Path]:
    """Those of a model's directory that a backend can load."""
    suffix = Path(formats[backend].file("float32")).suffix
    return sorted((folder / backend).glob(f"*{suffix}"))


def open_file(backend: str, file: Path, threads: int | None = None, exact: bool = False) -> Session:
    """Raises FactcliError for a file that the runtime cannot read, or a package that is not installed."""
    return formats[backend].open(file, threads, exact)


def parts_of(backend: str, file: Path) -> list[Path]:
    """The files that belong to one."""
    return formats[backend].parts(file)


def check_device(device: str, backend: str) -> str:
    """The device for a backend: those of files run on the CPU. Raises UsageError for another."""
    if backend == "torch":
        return device
    if device not in ("auto", "cpu"):
        raise UsageError(f"--backend {backend} runs on the CPU: leave out --device.")
    return "cpu"
