"""An option: one field of a group.

What else there is of it is made from that: the flag, the keyword, the key of a recipe file with its error sentence, the
schema for editors, and the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, reduce
from inspect import get_annotations
from operator import or_
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union, get_args, get_origin

from ..errors import UsageError

if TYPE_CHECKING:
    from .registry import Registry

FEW = 4  # names, which are all said
_ARGUMENTS = {"model": "MODEL", "models": "MODEL", "folder": "DIRECTORY", "repo_id": "REPO_ID", "sweep_file": "FILE"}


@dataclass(frozen=True)
class About:
    """What an option is, beside its name and type.

    `said` says in words what a default of None stands for. `known` are the values that a text may have: a registry,
    or names. `read` makes the value of what was given (a text of the command line, for instance), or raises
    ValueError with what is wrong with it, such as "is not a count". `called` are the words for what a value must
    be. A `flag` other than the name's; `no`, a second flag for False. `listed`: one flag takes several values,
    parted by commas. `only` "file" or "line": cannot be given elsewhere; "argument": without a flag. `quiet`: a
    recipe file has it where it is not the default. `place`: may be a directory, of which a recipe file has the name
    alone. `words`: a slash in its text makes no path of it. `ge`, `gt`, `le` and `lt` are its range.
    """

    default: Any
    help: str
    said: str = ""
    known: Iterable[str] = ()
    read: Callable[[Any], Any] | None = None
    called: str = ""
    flag: str = ""
    short: str = ""
    no: str = ""
    listed: bool = False
    only: str = ""
    required: bool = False
    quiet: bool = False
    place: bool = False
    words: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


def option(default: Any, help: str, said: str = "", **about: Any) -> Any:
    """Declares a field: its default, its line of help, what a default of None stands for, and what else About has."""
    return About(default, help, said, **about)


class Options:
    """A group of options, immutable. Raises UsageError for a value that an option cannot have.

    `panel` is its heading in the help. Of `rivals` one is given at most: a flag replaces those of a recipe file. The
    options of the choices in `registries` are options of the group too.
    """

    panel: ClassVar[str] = ""
    rivals: ClassVar[tuple[str, ...]] = ()
    registries: ClassVar[tuple[Registry[Any], ...]] = ()

    def __init__(self, **values: Any) -> None:
        known = declared(type(self))
        if unknown := values.keys() - known.keys():
            raise TypeError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}")
        for name, one in known.items():
            value = values.get(name, one.default)
            if (wrong := one.wrong(value)) is not None:
                raise UsageError(one.refusal(value, wrong))
            vars(self)[name] = value
        self.check()

    def check(self) -> None:
        """Raises UsageError for options that do not go together."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} cannot be set: make another one with but()")

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...  # an option of a choice

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def but(self, **changes: Any) -> Self:
        """The same with these values."""
        return type(self)(**{**vars(self), **changes})


@dataclass(frozen=True)
class Declared:
    """An option as a group has it."""

    name: str
    kind: Any
    about: About
    group: type[Options]

    @property
    def default(self) -> Any:
        return self.about.default

    @property
    def required(self) -> bool:
        return self.about.required

    @property
    def panel(self) -> str:
        return self.group.panel

    @property
    def flag(self) -> str:
        return "--" + (self.about.flag or self.name).replace("_", "-")

    @property
    def spelled(self) -> str:
        """As the command line has it."""
        return spelled(self.name) if self.about.only == "argument" else self.flag

    @property
    def help(self) -> str:
        """A line: what it is, the values that are known, the default."""
        said = self.about.help.rstrip(".") + (": " + ", ".join(self.about.known) if tuple(self.about.known) else "")
        shown = ",".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)
        default = self.about.said or ("" if self.default in (None, (), "") or self.default is False else shown)
        return f"{said}; default {default}." if default else f"{said}."

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types of a value, without None."""
        union = get_origin(self.kind) is Union or type(self.kind).__name__ == "UnionType"
        return tuple(k for k in (get_args(self.kind) if union else (self.kind,)) if k is not type(None))

    @property
    def several(self) -> bool:
        """Whether its value is a tuple."""
        return any(get_origin(kind) is tuple for kind in self.kinds)

    def read(self, value: Any) -> Any:
        """The value of what was given: lists as tuples, texts as what they say. Raises ValueError: what is wrong."""
        if isinstance(value, PathLike) and Path not in self.kinds:
            value = fspath(value)
        if getattr(value, "ndim", None) == 0:  # a number of numpy or torch
            value = value.item()
        if self.about.listed and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(","))
        if self.about.read is not None:
            value = self.about.read(value)
        elif self.several:
            value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return value

    def wrong(self, value: Any) -> str | None:
        """What is wrong with a value, such as "is below 1"; None where it is right."""
        if value is self.default:
            return None
        items = value if isinstance(value, tuple) else (value,)
        for item in items:
            if isinstance(item, str) and not item.strip():
                return "is empty: leave it out, or give a value"
            if isinstance(item, float) and not math.isfinite(item):
                return "is not a finite number"
        return self._wrong_kind(value) or next(filter(None, map(self._wrong_name, items)), None)

    def _wrong_kind(self, value: Any) -> str | None:
        from pydantic import ValidationError

        try:
            _validator(self).validate_python(value)
        except ValidationError as error:
            found = error.errors()[0]
            limit = next((v for v in found.get("ctx", {}).values() if isinstance(v, (int, float))), 0)
            words = {
                "greater_than_equal": f"is below {limit:g}", "greater_than": f"is not above {limit:g}",
                "less_than_equal": f"is above {limit:g}", "less_than": f"is not below {limit:g}",
            }  # fmt: skip
            return words[found["type"]] if found["type"] in words and not self.about.called else f"is not {self.called}"
        return None

    def _wrong_name(self, item: Any) -> str | None:
        known = list(self.about.known)
        if not known or not isinstance(item, str) or item in known:
            return None
        if hasattr(self.about.known, "entries") or len(known) > FEW:
            near = get_close_matches(item, known, n=1, cutoff=0.4)
            return "is unknown: " + (f"did you mean {near[0]!r}? " if near else "") + f"known are {', '.join(known)}"
        return f"is unknown: take {' or '.join(known) if len(known) == 2 else ', '.join(known)}"

    def refusal(self, value: Any, wrong: str, where: str = "") -> str:
        """The sentence on a wrong value, given as an option or `where` a file has it."""
        value = list(value) if isinstance(value, tuple) else value
        if where:
            return f"{where} has {self.name}: {value!r}, which {wrong}."
        quoted = "" if wrong.startswith("is empty") else f"{value!r} " if isinstance(value, str) else f"{value} "
        return f"{self.spelled} {quoted}{wrong}."

    @property
    def called(self) -> str:
        """What a value must be, in words."""
        if self.about.called:
            return self.about.called
        if self.several:
            (inner, *_) = get_args(next(k for k in self.kinds if get_origin(k) is tuple))
            return "a text or a list of texts" if inner is str else "a whole number or a list of whole numbers"
        if self.kinds == (bool,):
            return "true or false"
        words = {str: "a text", int: "a whole number", float: "a number (written 0.001 or 1.0e-3)"}
        return " or ".join(said for kind, said in words.items() if kind in self.kinds)

    def json_schema(self) -> dict[str, Any]:
        """What a recipe file may have as its value."""
        found: dict[str, Any] = _validator(self).json_schema()
        if self.about.known:
            found.get("anyOf", [found])[0]["enum"] = list(self.about.known)
        if self.several or (self.about.read is not None and "string" not in str(found)):
            found = {"anyOf": [*found.get("anyOf", [found]), {"type": "string"}]}
        return found | {"description": self.help}


def declared(group: type[Options]) -> dict[str, Declared]:
    """The options of a group, in order: its own, then those of the choices that it names."""
    of_class: Any = group
    found = dict(_fields(of_class))
    for registry in group.registries:
        for choice in registry:
            found |= {name: one for name, one in declared(registry[choice].options).items() if name not in found}
    return found


@cache
def _fields(group: Any) -> dict[str, Declared]:
    found: dict[str, Declared] = {}
    for owner in reversed(group.__mro__):
        own = {name: about for name, about in vars(owner).items() if isinstance(about, About)}
        kinds = get_annotations(owner, eval_str=True) if own else {}
        found |= {name: Declared(name, kinds[name], about, owner) for name, about in own.items()}
    return found


@cache
def _validator(one: Declared) -> Any:
    """pydantic's check of an option's type and range; a whole number is a number, and nothing else is anything else."""
    from typing import Annotated

    from pydantic import ConfigDict, Field, TypeAdapter

    limits = Field(**{n: getattr(one.about, n) for n in ("ge", "gt", "le", "lt") if getattr(one.about, n) is not None})
    kinds = [Annotated[kind, limits] if kind in (int, float) else kind for kind in one.kinds]
    accepted: Any = reduce(or_, kinds)
    return TypeAdapter(accepted, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def spelled(name: str) -> str:
    """A keyword as the command line has it."""
    return _ARGUMENTS.get(name, f"--{name.replace('_', '-')}")


def given(values: Mapping[str, Any]) -> set[str]:
    """The names of the options that have a value: None is "not given", 0, False and "" are values."""
    return {name for name, value in values.items() if value is not None}
