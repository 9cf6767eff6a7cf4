"""The choices (structures, criteria, allocations, schedules): what they have in common, and a registry of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from ..errors import UsageError
from .fields import Options, declared

if TYPE_CHECKING:
    from ..compress.allocations import Allocation
    from ..compress.criteria import Criterion
    from ..compress.structures import Structure
    from ..runtimes import Format
    from ..training.schedules import Schedule
    from .rules import Rule


class Choice:
    """Something that a recipe names; the options of its own are `options`, their values in an instance `own`, and
    `rules` say when they have no effect.

    The files of choices import neither torch nor transformers at their top, so that --help can list them at once.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    options: ClassVar[type[Options]] = Options
    rules: ClassVar[tuple[Rule, ...]] = ()
    own: Any

    def __init__(self, own: Options | None = None) -> None:
        self.own = self.options() if own is None else own

    @classmethod
    def made(cls, asked: Options) -> Self:
        """With its own options as they are in `asked`, a group that has them among others."""
        return cls(cls.options(**{name: getattr(asked, name) for name in declared(cls.options)}))


class Named(Protocol):
    """What a registry keeps: classes of choices, and tasks."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Name -> entry, in order of registration; an unknown name is answered with the nearest known one. Entries register
    themselves as `module` is imported, which the first question does. Those that are not `offered` are found by name,
    and are none that the option may be given."""

    def __init__(self, kind: str, option: str, module: str = "") -> None:
        self.kind, self.option, self.module = kind, option, module
        self._entries: dict[str, T] = {}

    def register(self, entry: T) -> T:
        """A decorator."""
        assert entry.name not in self._entries, f"{self.kind} {entry.name!r} is registered twice"
        self._entries[entry.name] = entry
        return entry

    @property
    def entries(self) -> dict[str, T]:
        if self.module:
            module, self.module = self.module, ""  # which asks, as it is imported
            import_module(module, __package__)
        return self._entries

    def __getitem__(self, name: str) -> T:
        if name in self.entries:
            return self.entries[name]
        near = get_close_matches(name, list(self), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"Unknown {self.kind} {name!r} for {self.option}: {hint}known are {', '.join(self)}.")

    def __iter__(self) -> Iterator[str]:
        return (name for name, entry in self.entries.items() if getattr(entry, "offered", True))

    def __contains__(self, name: object) -> bool:
        return name in list(self)


structures: Registry[type[Structure]] = Registry("structure", "--method", "..compress.structures")
criteria: Registry[type[Criterion]] = Registry("criterion", "--criterion", "..compress.criteria")
allocations: Registry[type[Allocation]] = Registry("allocation", "--allocation", "..compress.allocations")
formats: Registry[type[Format]] = Registry("format", "--format", "..runtimes")
schedules: Registry[type[Schedule]] = Registry("schedule", "--schedule", "..training.schedules")


class Backends:
    """Names of what runs a model: torch, or the runtime of a format."""

    def __iter__(self) -> Iterator[str]:
        yield "torch"
        yield from formats


backends = Backends()
