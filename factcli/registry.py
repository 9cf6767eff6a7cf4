"""The choices (structures, criteria, allocations, schedules): what they have in common, and a registry of each kind."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from .errors import UsageError
from .recipe.fields import Options


class Choice:
    """Something that a recipe names; the options of its own are `options`, their values in an instance `own`.

    The files of choices import neither torch nor transformers at their top, so that --help can list them at once.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    options: ClassVar[type[Options]] = Options
    own: Any

    def __init__(self, own: Options | None = None) -> None:
        self.own = self.options() if own is None else own

    @property
    def used(self) -> frozenset[str]:
        """Those of its own options that have an effect as they are."""
        return frozenset(self.options.model_fields)

    @classmethod
    def made(cls, asked: Any) -> Self:
        """With its own options as they are in `asked`, which has them as attributes, among others."""
        return cls(cls.options(**{name: getattr(asked, name) for name in cls.options.model_fields}))


class Named(Protocol):
    """What a registry keeps: classes of choices, and tasks."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Name -> entry, in order of registration; an unknown name is answered with the nearest known one."""

    def __init__(self, kind: str, option: str) -> None:
        self.kind, self.option = kind, option
        self._entries: dict[str, T] = {}

    def register(self, entry: T) -> T:
        """A decorator."""
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} {entry.name!r} is registered twice")
        self._entries[entry.name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        if name in self._entries:
            return self._entries[name]
        near = get_close_matches(name, self._entries, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"Unknown {self.kind} {name!r} for {self.option}: {hint}known are {', '.join(self._entries)}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries
