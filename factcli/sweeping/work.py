"""One run, in whatever process it is carried out."""

import contextlib
import gc
import io
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import FactcliError, one_line
from ..recipe.commands import FINETUNE
from .file import SHARED
from .identity import code_version, makes_model
from .options import MAKERS, divided
from .store import MARKS, Store
from .task import DONE, FAILED, Task

Perform = Callable[[str, Mapping[str, Any]], dict[str, Any]]
Record = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Where results go, what carries out a command (a function that other processes can import), on behalf of which
    driver, the threads of a run, and the version of the code that the runs' ids are of."""

    url: str
    perform: Perform
    driver: str
    threads: int
    code: str


def carry_out(work: Work, task: Task, *before: Record) -> Record:
    """The record of a run that follows those of `before`: its result, or in one sentence why there is none. `lasting`
    says that it would be the same another time; what a machine lacks may be there then."""
    for each in before:
        if each["state"] == FAILED:
            return _record(
                task, {"state": FAILED, "error": f"{each['name']} failed: {each['error']}", "lasting": False}
            )
    if code_version() != work.code:
        said = f"{platform.node()} has another factcli ({code_version()}, the sweep's is {work.code}): install the same"
        return _record(task, {"state": FAILED, "error": f"{said} everywhere.", "lasting": False})
    import torch

    torch.set_num_threads(work.threads)
    gc.collect()
    gc.freeze()  # what was imported: every training collects garbage, and most of a short one's time would go by
    started, store = time.perf_counter(), Store(work.url)
    with contextlib.suppress(FactcliError):  # a courtesy to who watches
        store.write(f"{MARKS}/{task.id}.json", {"driver": work.driver})
    found: Record
    with _listening() as notes:
        try:
            with store.workplace(task.id) as place:
                try:
                    found = {"state": DONE, "result": _results(work, store, task, place)}
                except FactcliError as error:
                    said = one_line(error).replace(f"{place}/", "")
                    found = {"state": FAILED, "error": said, "lasting": not error.passing}
        except (Exception, MemoryError) as error:
            found = {"state": FAILED, "error": f"{type(error).__name__}: {one_line(error)}", "lasting": False}
    return _record(
        task, found | {"seconds": round(time.perf_counter() - started, 2)} | ({"notes": notes} if notes else {})
    )


def _results(work: Work, store: Store, task: Task, place: Path) -> dict[str, Any]:
    """Of the last command, with those of the ones before it."""
    options = dict(task.options) | {name: str(store.get_model(id, place)) for name, id in task.parts.items()}
    for name, text in task.texts.items():
        file = place / f"{name}-{Path(str(task.options[name])).name}"
        file.write_text(text, encoding="utf-8")
        options[name] = file
    found: dict[str, Any] = {}
    model: Path | None = None
    for command, values in zip(task.commands, divided(task.commands, options), strict=True):
        if model is not None:
            values = {"model": str(model)} | values
        if command in MAKERS and not values.get("dry_run"):
            model = place / f"{command}-model"
            values |= {"output": str(model)}
        if command == FINETUNE.name:
            values = {"save_steps": 0} | values  # a run that was interrupted is made again, in another process
        found[command] = _shown(work.perform(command, values), task)
    if task.keeps and makes_model(task) and model is not None:
        store.put_model(task.id, model)
    *first, last = found
    whole: dict[str, Any] = found[last]
    return whole | ({"before": {name: found[name] for name in first}} if first else {})


def _shown(result: dict[str, Any], task: Task) -> dict[str, Any]:
    """Without where things lay on one machine."""
    found = {name: value for name, value in result.items() if name not in ("output", "pushed")}
    if isinstance(found.get("model"), str) and Path(found["model"]).is_absolute():
        found["model"] = f"{SHARED}{task.parts['model']}" if "model" in task.parts else Path(found["model"]).name
    return found


def _record(task: Task, found: Record) -> Record:
    return task.planned() | {
        "code": code_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "transformers")} | {"python": platform.python_version()},
    } | found  # fmt: skip


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What the run says to its user, and nothing of it, or of other libraries, on the screen of many."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in said:
                said.append(record.getMessage())

    logger, listener = logging.getLogger("factcli"), Listener()
    handlers, propagate = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [listener], False
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield said
    finally:
        logger.handlers, logger.propagate = handlers, propagate
