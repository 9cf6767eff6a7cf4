"""One bar on stderr: what is done, how far it is, the time left."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_BAR, _REST = 20, 24  # cells of a terminal: of the bar, and of the numbers beside it
_NARROW = 80  # terminals below it have half a bar
_LEAST = 12  # of the words, in the narrowest terminal


class Bar:
    """It goes when the work is done. Each step has its own time left; one of unknown length says how long it took."""

    def __init__(self, what: str) -> None:
        self.console = Console(file=sys.stderr)  # this one, also while a library's own words are kept off stderr
        self._step, self._done = "", 0
        self._wide = _BAR if self.console.width >= _NARROW else _BAR // 2
        words, bar = TextColumn("{task.description}", markup=False), BarColumn(self._wide)
        columns = (words, bar, MofNCompleteColumn(), TimeRemainingColumn(), _Elapsed())
        self._bar = Progress(*columns, console=self.console, transient=True, refresh_per_second=4)
        self._row = self._bar.add_task(what, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def step(self, done: int, total: int, name: str, said: str = "") -> None:
        """`done` of `total` (0: unknown) of a step; `said` is what else there is to say of it."""
        words = f"{name}, {said}" if said else name
        if name != self._step or done < self._done:
            self._bar.reset(self._row)
        self._step, self._done = name, done
        self._bar.update(self._row, completed=done, total=total or None, description=self._cut(words))

    def _cut(self, words: str) -> str:
        """In what is left of a line: nothing wraps."""
        room = max(_LEAST, self.console.width - self._wide - _REST)
        return words if len(words) <= room else words[: room - 1] + "…"


class _Elapsed(TimeElapsedColumn):
    """Of a step of unknown length alone."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total is None else Text()
