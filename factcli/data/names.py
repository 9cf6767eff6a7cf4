"""Names of classes that people spell in more than one way."""

import re
import unicodedata
from collections.abc import Callable, Sequence

_INTEGRAL = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def number(text: str) -> float | None:
    """The number that a text is, as a table's cell says it (no words, no "_" and no decimal comma)."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def whole(text: str) -> str:
    """1.0 as 1, which is what a table makes of ids in a column with gaps; any other text as it is."""
    found = _INTEGRAL.fullmatch(text)
    return found[1] if found else text


def alike(name: str) -> str:
    """The same for names that differ in case, spaces around or the form of their accents only."""
    return whole(" ".join(unicodedata.normalize("NFKC", name).split()).casefold())


def plain(name: str) -> str:
    """The same also for not_equivalent, not-equivalent and "Not equivalent"; what follows a minus stays: -1, A-."""
    name = alike(name)
    if not any(c.isalpha() for c in name):
        return name
    return re.sub(r"(?<=[^\W_])(?![\s_]+-\d)[\s_-]+(?=[^\W_])", "", name)


_LEVELS: tuple[Callable[[str], str], ...] = (str, whole, alike, plain)


class Names:
    """Known names, looked up as they are spelt, else by what is alike, where that is one only."""

    def __init__(self, known: Sequence[str]) -> None:
        self._levels: list[tuple[Callable[[str], str], dict[str, int | None]]] = []
        for level in _LEVELS:
            table: dict[str, int | None] = {}
            for index, name in enumerate(known):
                key = level(name)
                table[key] = None if key in table else index
            self._levels.append((level, table))

    def index(self, name: str) -> int | None:
        """The place of a name among the known ones, None where it has none or more than one."""
        for level, table in self._levels:
            key = level(name)
            if key in table:
                return table[key]
        return None


def sort_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes in the order of their ids: integers by value, others as texts."""
    integers = all(re.fullmatch(r"-?(?:0|[1-9][0-9]*)", n) and len(n) < 1000 for n in names)
    return tuple(sorted(names, key=int) if integers else sorted(names))
