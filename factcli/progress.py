"""How far long steps are, told to whoever watches; nobody may."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Progress = Callable[[int, int, str], None]  # done, of how many (0: that is not known), what is done

_PART = 100
_watching: ContextVar[Progress | None] = ContextVar("watching", default=None)


@contextmanager
def watched(by: Progress | None) -> Iterator[None]:
    """What is told in the body goes to `by`; without it to whom it went before."""
    if by is None:
        yield
        return
    before = _watching.set(by)
    try:
        yield
    finally:
        _watching.reset(before)


def tell(done: int, total: int, what: str) -> None:
    """`done` of `total` are done of a step that is called `what`."""
    watching = _watching.get()
    if watching is not None:
        watching(done, total, what)


def steps(what: str, items: Collection[T]) -> Iterator[T]:
    """The items, of which each one that was worked on is told."""
    for done, item in enumerate(items, 1):
        yield item
        tell(done, len(items), what)


def part(done: int, total: int, what: str) -> AbstractContextManager[None]:
    """The body is one of `total` equal parts of `what`, of which `done` are done: what it tells is how far that is."""
    tell(_PART * done, _PART * total, what)
    outer = _watching.get()

    def inner(now: int, of: int, _: str) -> None:
        if outer is not None and of:
            outer(_PART * done + _PART * now // of, _PART * total, what)

    return watched(inner)


def continued(before: int, total: int) -> AbstractContextManager[None]:
    """The body goes on with a step of `total`, of which `before` were done."""
    outer = _watching.get()

    def inner(now: int, _: int, what: str) -> None:
        if outer is not None:
            outer(before + now, total, what)

    return watched(inner)
