"""A run of training, watched: a bar for people, one line an event otherwise; on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..progress import watched
from ..training.events import Event, Watch
from . import console

_SILENT = ("step", "loss")


@contextmanager
def watching(shown: bool) -> Iterator[Watch]:
    """What to give to finetune as `watch`; without `shown` only failures are told."""
    if not shown:
        yield lambda event: console.note(event.text) if event.kind == "failed" else None
    elif sys.stderr.isatty():
        yield from _bar()
    else:
        yield _lines()


def _lines() -> Watch:
    losses: list[float] = []

    def watch(event: Event) -> None:
        if event.kind == "loss" and event.loss is not None:
            losses[:] = [event.loss]
        if event.kind not in _SILENT or (event.kind == "step" and (event.step == 1 or event.step % 100 == 0)):
            console.note(_line(event, losses[0] if losses else None))

    return watch


def _line(event: Event, loss: float | None) -> str:
    parts = [event.text] if event.text else []
    if event.total:
        parts.insert(0, f"step {event.step}/{event.total}")
    if event.kind in ("step", "evaluation") and loss is not None:
        parts.append(f"loss {loss:.4f}")
    parts += [f"{name} {value:.4f}" for name, value in event.metrics.items()]
    return ", ".join(parts)


def _bar() -> Iterator[Watch]:
    from .bars import Bar

    with Bar("finetune") as bar, watched(bar.step):
        said: dict[str, str] = {}

        def watch(event: Event) -> None:
            if event.loss is not None:
                said["loss"] = f"loss {event.loss:.4f}"
            said.update({name: f"{name} {value:.4f}" for name, value in event.metrics.items()})
            if event.total:
                stage = f"stage {event.stage} of {event.stages}" if event.stages > 1 else "training"
                bar.step(event.step, event.total, stage, " ".join(said.values()))
            if event.kind not in (*_SILENT, "evaluation", "checkpoint"):
                console.note(_line(event, None))

        yield watch
