"""Flags over a recipe file over defaults, read and checked in one way, with one voice."""

from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from ..errors import FactcliError, UsageError
from .fields import Declared, Options, declared

T = TypeVar("T", bound=Options)


def resolve(group: type[T], flags: Mapping[str, Any], file: Mapping[str, Any] | None = None) -> T:
    """The group with the values of `flags` (None: not given), over those of a recipe `file`, over its defaults; a flag
    replaces its rivals in the file. Raises UsageError."""
    values = read_flags(declared(group), flags)
    for rivals in _rivals(group):
        if values.keys() & set(rivals):
            file = {k: v for k, v in (file or {}).items() if k not in rivals}
    return group(**({**(file or {})} | values))


def read_flags(options: Mapping[str, Declared], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The values of flags, of keywords just so. Raises UsageError."""
    return {name: _read(options[name], value, "") for name, value in flags.items() if value is not None}


def _read(one: Declared, value: Any, where: str) -> Any:
    wrong = one.wrong(value) if isinstance(value, str) and not value.strip() else None
    try:
        found = value if wrong else one.read(value)
        wrong = wrong or one.wrong(found)
    except ValueError as error:
        found, wrong = value, str(error)
    if wrong is not None:
        raise UsageError(one.refusal(found, wrong, where))
    return found


def read_keys(group: type[Options], values: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """The values that a file has at `where` and that are not null. Raises UsageError for an unknown key, a wrong value,
    and for rivals."""
    known = declared(group)
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(str(name), known, n=1)
            hint = f", did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}."
            raise UsageError(f"{where} has an unknown key {name!r}{hint}")
        if value is not None:
            found[name] = _read(known[name], value, where)
    for rivals in _rivals(group):
        several = [name for name in rivals if name in found]
        if len(several) > 1:
            raise UsageError(f"{where} has {' and '.join(several)}: leave one of them.")
    return found


def _rivals(group: type[Options]) -> list[tuple[str, ...]]:
    return [c.__dict__["rivals"] for c in group.__mro__ if c.__dict__.get("rivals")]


def load_file(path: str | Path, what: str = "recipe") -> dict[str, Any]:
    """A file of options as it stands, called `what`. Raises FactcliError where it cannot be read, or is no
    mapping of distinct keys."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML as it is, but a key that stands twice is refused: the first one would be lost without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen = set()
            for key, _ in node.value:
                name = self.construct_object(key, deep=True)
                if isinstance(name, Hashable) and name in seen:
                    said = f"the key {name!r} stands twice"
                    raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
                seen.add(name)
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise FactcliError(f"Cannot read the {what} {path}: {getattr(error, 'strerror', None) or error}.") from error
    except yaml.YAMLError as error:
        raise FactcliError(f"The {what} {path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise FactcliError(f"The {what} {path} must be a mapping such as 'method: monarch'.")
    return values
