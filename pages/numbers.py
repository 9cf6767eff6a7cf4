"""Numbers of the documentation, held to the files below recipes/results/.

A block (a table, a paragraph, a list, a fenced block of output) that states measurements stands below a comment that
says where they are from:

    <!-- results: whole-model.md
    all at 0.25 | MB of weights; mean
    all at 0.25, OpenVINO int8 | MB of weights
    -->

names the cells in the order in which the block has the numbers: cells of the row, from its first on, then columns,
after `Heading > ` where several tables have the row; of a cell with several numbers `#2` is the second, `%` a share
shown in percent. `"dense: 84.7"` quotes a place with numbers in
the text of the file. `<!-- results: FILE lines -->` is for tables and output whose lines stand in the file as they are.
What looks like a measurement and is none (a setting, a version) is in a code span, or in a block below
`<!-- no measurement: WHY -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "recipes" / "results"
MADE = ("options.md", "errors.md", "json.md")  # in the reference, from the code, which tests hold them to
OUTPUT = ("", "text")  # languages of fenced blocks that show what was printed
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?![\d\w])")
_UNITS = r"\s?(?:%|percent|[MGk]B\b|ms\b|s\b|seconds|minutes|points?\b|times\b)"
MEASURED = re.compile(rf"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+(?![\d.])|(?={_UNITS}))")
_MARK = re.compile(r"<!-- (results|no measurement): (.*?)-->", re.DOTALL)
_FENCE = re.compile(r"^ *(```+)(\w*)")


@dataclass(frozen=True)
class Block:
    """Lines that belong together: the first of them, whether they are a fenced block, and the mark above them."""

    line: int
    text: str
    language: str | None  # None: not fenced
    mark: tuple[str, str] | None


def pages() -> list[Path]:
    """README and every page but those that are made from the code."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if page.parent.name != "reference" or page.name not in MADE]


def problems(text: str) -> list[str]:
    """What is wrong with the numbers of a page, a sentence each."""
    found = []
    for block in blocks(text):
        if block.mark is None:
            shown = [m[0] for line in _claims(block) for m in MEASURED.finditer(line)]
            if shown:
                found.append(f"line {block.line}: {', '.join(shown)} without a file of results")
        elif block.mark[0] == "results":
            found += [f"line {block.line}: {problem}" for problem in _compared(block, block.mark[1])]
    return found


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page in order, with the marks above them."""
    mark: tuple[str, str] | None = None
    for line, part, language in _parts(text):
        found = _MARK.fullmatch(part.strip())
        if found is not None:
            mark = found[1], found[2]
        else:
            yield Block(line, part, language, mark)
            mark = None


def _parts(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Fenced blocks and comments whole, all else by blank lines: the line each begins at, its text, its language."""
    part: list[str] = []
    start, closing, language = 1, "", None
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = _FENCE.match(line)
        if closing:
            part.append(line)
            if (closing == "-->" and "-->" in line) or (fence and line.strip() == closing):
                yield start, "\n".join(part), language
                part, closing, language = [], "", None
            continue
        if fence or line.lstrip().startswith("<!--") or not line.strip():
            if part:
                yield start, "\n".join(part), None
            part, start = [], number
        if fence:
            part, closing, language = [line], fence[1], fence[2]
        elif line.lstrip().startswith("<!--"):
            part, closing = [line], "-->"
            if "-->" in line:
                yield start, line, None
                part, closing = [], ""
        elif line.strip():
            start = start if part else number
            part.append(line)


def _claims(block: Block) -> list[str]:
    """The lines that may state what was measured, without code, links, headings and the first cells of tables."""
    if block.language is not None:
        return block.text.splitlines()[1:-1] if block.language in OUTPUT else []
    lines = [line for line in block.text.splitlines() if not line.lstrip().startswith("#")]
    if lines and lines[0].lstrip().startswith("|"):
        lines = [" | ".join(cells(line)[1:]) for line in lines[2:]]
    text = re.sub(r"`[^`]*`", "", "\n".join(lines))
    return re.sub(r"\]\([^)]*\)", "]", text).splitlines()


def _compared(block: Block, named: str) -> list[str]:
    name, _, rest = named.strip().partition("\n")
    name, as_lines = name.removesuffix(" lines").strip(), name.endswith(" lines")
    file = RESULTS / name
    if not file.is_file():
        return [f"there are no results {name}"]
    text = file.read_text(encoding="utf-8")
    if as_lines:
        known = {line.rstrip() for line in text.splitlines()}
        lines = block.text.splitlines()
        lines = lines[1:-1] if block.language is not None else lines
        return [f"{name} has no line {line!r}" for line in lines if line.rstrip() not in known and line.strip() != "…"]
    try:
        expected = [value for key in rest.strip().splitlines() for value in _values(text, key.strip())]
    except KeyError as error:
        return [f"{name}: {error.args[0]}"]
    shown = [m[0] for line in _claims(block) for m in _numbers(block, line)]
    if len(shown) != len(expected):
        return [f"{len(shown)} numbers ({', '.join(shown)}), but {len(expected)} are named"]
    return [f"{s} is {e:g} in {name}" for s, e in zip(shown, expected, strict=True) if not _same(s, e)]


def _numbers(block: Block, line: str) -> Iterator[re.Match[str]]:
    """In tables every number counts, in sentences those that look measured."""
    return (NUMBER if block.text.lstrip().startswith("|") else MEASURED).finditer(line)


def _same(shown: str, value: float) -> bool:
    """Whether the number is the value, rounded to as many places as are shown."""
    places = len(shown.partition(".")[2])
    return abs(float(shown.replace(",", "")) - value) <= 0.5 * 10**-places + 1e-9


def _values(text: str, key: str) -> list[float]:
    if key.startswith('"') and key.endswith('"'):
        if " ".join(key[1:-1].split()) not in " ".join(text.split()):
            raise KeyError(f"does not say {key}")
        return [_number(m[0]) for m in MEASURED.finditer(key[1:-1])]
    section, _, cell = key.rpartition(" > ")
    *row, columns = re.split(r"\s*\|\s*", cell.strip())
    found = [(head, body) for title, head, body in rows(text) if body[: len(row)] == row and section in title]
    values = []
    for wanted in (part.strip() for part in columns.split(";")):
        percent, column = wanted.endswith("%"), wanted.removesuffix("%").strip()
        column, _, place = column.partition("#")
        hits = [cell for head, body in found for name, cell in zip(head, body, strict=True) if name == column]
        if len(hits) != 1:
            raise KeyError(f"{len(hits)} cells are {' | '.join(row)} | {column}")
        numbers = [_number(m[0]) for m in NUMBER.finditer(hits[0])]
        values.append(numbers[int(place or 1) - 1] * (100 if percent else 1))
    return values


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def rows(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Rows of every table of a page: its heading, the cells of its head, and those of the row."""
    head: list[str] | None = None
    title = ""
    for line in text.splitlines():
        if not line.startswith("|"):
            head = None
            title = line.lstrip("# ") if line.startswith("#") else title
        elif head is None:
            head = cells(line)
        elif not set(line) <= set("|-: "):
            yield title, head, cells(line)


def cells(line: str) -> list[str]:
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]
