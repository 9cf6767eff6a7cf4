"""What a run is known by: a digest of its options, its model, its data and the code that runs it."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import FactcliError, UsageError
from ..files.digests import digest_of_files, digest_of_values
from ..recipe.reading import load_file
from .file import Sweep
from .options import FILES, IDLE, MAKERS, PLACES
from .product import Run
from .task import Task

LENGTH = 16  # hexadecimal digits of an id
_PACKAGE = Path(__file__).parent.parent
_ASIDE = {"cli", "sweeping", "card", "publishing"}  # rooms that decide no number of a run
_NOT_WEIGHED = {"README.md", "eval_results.json"}  # of a model: they change with what is said of it


@cache
def code_version() -> str:
    """The version of factcli, with a digest of the modules that decide what a run gives."""
    inner = {p.relative_to(_PACKAGE).parts: p for p in _PACKAGE.rglob("*.py")}
    files = [inner[parts] for parts in sorted(inner) if parts[0] not in _ASIDE and parts != ("commands", "sweep.py")]
    names = [p.relative_to(_PACKAGE).as_posix() for p in files]
    return f"{__version__}+{digest_of_values([*names, digest_of_files(files)])[:8]}"


def tasks_of(sweep: Sweep, runs: Iterable[Run]) -> list[Task]:
    """The runs with their ids, each after what it needs; parts that are the same stand once.

    Raises FactcliError for a file that cannot be read, UsageError for two runs of a product that are the same.
    """
    found: dict[str, Task] = {}
    kept: set[str] = set()

    def add(run: Run) -> Task:
        parts = {name: add(part) for name, part in run.parts.items()}
        after = [*parts.values(), *(add(part) for part in run.after)]
        for part in parts.values():
            kept.add(part.id)
        task = _task(sweep, run, parts, after)
        if run.labels and task.id in found and found[task.id].labels:
            raise UsageError(
                f"{sweep.path}: the runs {found[task.id].name} and {run.name} are the same, option for option: leave "
                "one out with 'exclude'."
            )
        if task.labels or task.id not in found:  # a run may be a part of others as well
            found[task.id] = task
        return task

    for run in runs:
        add(run)
    return [_keeping(task) if task.id in kept else task for task in found.values()]


def _keeping(task: Task) -> Task:
    return Task(**{**vars(task), "keeps": True})


def _task(sweep: Sweep, run: Run, parts: dict[str, Task], after: list[Task]) -> Task:
    options, shown = dict(run.options), dict(run.options)
    texts: dict[str, str] = {}
    weighed: dict[str, Any] = {}
    folder = sweep.path.parent
    for name, value in run.options.items():
        bare = name.rpartition(".")[2]
        if bare in FILES:
            texts[name] = _text(folder / str(value), name)
            shown[name], weighed[name] = Path(str(value)).name, load_file(folder / str(value))
            continue
        path = Path(str(value)).expanduser() if isinstance(value, str) else None
        if bare in PLACES and path is not None and path.exists():
            options[name], shown[name] = str(path.absolute()), path.absolute().name
            weighed[name] = _digest_of_place(path.absolute(), bare, run)
        elif bare not in IDLE:
            weighed[name] = value
    before = sorted({task.key for task in after})
    what = {
        "commands": run.commands,
        "options": weighed,
        "parts": {n: t.key for n, t in parts.items()},
        "after": before,
    }
    key = digest_of_values([json.dumps(what, sort_keys=True, default=str)])[:LENGTH]
    return Task(
        digest_of_values([key, code_version()])[:LENGTH], key, run.name, dict(run.labels), run.commands, options, shown,
        {name: task.id for name, task in parts.items()}, tuple(dict.fromkeys(task.id for task in after)), False, texts,
    )  # fmt: skip


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise FactcliError(f"Cannot read {path}, the {name} of a run: {said}.") from error


def _digest_of_place(path: Path, option: str, run: Run) -> str:
    if option == "data_dir":  # of all tasks those that the run reads
        names = {
            str(value) for name, value in run.options.items() if name.rpartition(".")[2] in ("task", "calibration")
        }
        inner = sorted(path / name.removesuffix("-mm") for name in names if (path / name.removesuffix("-mm")).is_dir())
        return digest_of_values([digest for each in inner or [path] for digest in (each.name, _digest(each))])
    return _digest(path)


def _digest(path: Path) -> str:
    """Of a file, or of the files below a directory with their names."""
    if path.is_file():
        return digest_of_files([path])
    files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")
                   and p.name not in _NOT_WEIGHED)  # fmt: skip
    return digest_of_values(v for p in files for v in (p.relative_to(path).as_posix(), digest_of_files([p])))


def makes_model(task: Task) -> bool:
    """Whether its last command leaves a model."""
    return task.commands[-1] in MAKERS or task.keeps
