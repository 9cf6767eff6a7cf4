"""Tables that are generated, each with an independent reading of it."""

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import assume
from hypothesis import strategies as st


@dataclass(frozen=True)
class Table:
    """A file, and what an independent reading of it finds: (text, label) by row, None where there is nothing.

    `plain` ones have nothing odd: they must be read. `readings` are the others that are as good, where there are any.
    """

    name: str
    data: bytes
    rows: list[tuple[str | None, str | None]]
    plain: bool
    columns: tuple[str, str] = ("text", "label")
    readings: tuple[list[tuple[str | None, str | None]], ...] = ()

    def write(self, folder: Path) -> Path:
        file = folder / self.name
        file.write_bytes(self.data)
        return file

    def whole(self, limit: int | None = None) -> list[list[tuple[str, str]]]:
        """The rows that may count: those that have a label; those without a text among them may be left out."""
        found = []
        for rows in (self.rows, *self.readings):
            labelled = [(t, x) for t, x in rows if x and x.strip()]
            both = [(t, x) for t, x in labelled if t and t.strip()]
            cut = [(t, x) for t, x in rows[:limit] if x and x.strip()]
            found += [
                [(t or "", x) for t, x in kept]
                for kept in (labelled[:limit], both[:limit], cut, [(t, x) for t, x in cut if t and t.strip()])
            ]
        return found


ODD_TEXTS = (
    "NA", "null", "None", "nan", "true", "1", "1.0", "-1", "0012", "1e5", "2024-01-01", 'say "no"', '"', "it's", "a,b",
    "a;b", "a\tb", "a|b", "two\nlines", "two\r\nlines", "naïve ☃", "日本語", "a\u2028b", "a\x0cb", "a\x85b", "=1+1",
    "#", "[1, 2]", "{}", "\\", "\\n", "\ufeffx",
)  # fmt: skip
LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))
PLAIN_TEXTS = st.lists(st.sampled_from([f"w{i}" for i in range(90)]), min_size=1, max_size=5).map(" ".join)
TEXTS = st.one_of(PLAIN_TEXTS, st.sampled_from(ODD_TEXTS), st.text(LETTERS, min_size=1, max_size=12))
CLASSES = (("no", "yes"), ("negative", "positive"), ("0", "1"), ("1", "2", "10"), ("a b", "c"), ("True", "False"),
           ("01", "02"), ("b'x'", "b'y'"), ("entailment", "neutral", "contradiction"), ("NA", "null"))  # fmt: skip


@st.composite
def columns_of(draw: st.DrawFn, classes: Sequence[str] | None = None, odd: bool = True) -> list[tuple[str, str]]:
    """Rows of (text, label); `odd` ones have blanks, other labels, and other spellings among them."""
    known = classes or draw(st.sampled_from(CLASSES))
    labels = st.sampled_from(known)
    texts = TEXTS
    if odd:
        labels = st.one_of(
            labels, labels, labels, st.sampled_from(["", " ", "-1", known[0].upper(), f" {known[0]}", "maybe"])
        )
        texts = st.one_of(TEXTS, TEXTS, TEXTS, st.sampled_from(["", "  "]))
    rows = draw(st.lists(st.tuples(texts, labels), min_size=1, max_size=8))
    if not odd:  # a column that is text without doubt
        rows = [*rows, ("w1 words", known[0]), ("w2 words", known[1])]
    return rows


@st.composite
def delimited(draw: st.DrawFn, classes: Sequence[str] | None = None) -> Table:
    """A csv or tsv, as spreadsheets and programs write them."""
    plain = draw(st.booleans())
    rows = draw(columns_of(classes, odd=not plain))
    suffix = draw(st.sampled_from([".csv", ".csv", ".tsv"]))
    usual = "," if suffix == ".csv" else "\t"
    text, label = "text", "label"
    delimiter, encoding, end, blank_lines, extra, compressed = usual, "utf-8", "\n", False, False, False
    quoting = csv.QUOTE_MINIMAL
    if not plain:
        text, label = draw(
            st.sampled_from([("text", "label"), ("Text", "Label"), ("review", "verdict"), ("sentence", "label")])
        )
        delimiter = draw(st.sampled_from([usual, usual, ",", ";", "\t", "|"]))
        encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-16", "utf-16-le", "latin-1", "cp1252"]))
        compressed = draw(st.integers(0, 5)) == 0
        end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    else:
        encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"]))
        end = draw(st.sampled_from(["\n", "\r\n"]))
    extra = draw(st.booleans())
    blank_lines = draw(st.booleans())
    raw = suffix == ".tsv" and (plain or draw(st.booleans()))  # quotes are ordinary characters there
    if raw:
        rows = [(re.sub(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", " ", t), x) for t, x in rows]
        if plain:
            rows = [(t.replace('"', "'"), x) for t, x in rows]
    else:
        quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if encoding in ("latin-1", "cp1252"):
        rows = [(t.encode("ascii", "ignore").decode() + " café", x) for t, x in rows]
    lines = [
        [*(["id"] if extra else []), text, label],
        *([*([str(i)] if extra else []), *row] for i, row in enumerate(rows)),
    ]
    if not plain and draw(st.integers(0, 3)) == 0:  # a row that has too few or too many cells
        where = draw(st.integers(1, len(lines)))
        lines.insert(where, draw(st.sampled_from([["w1"], ["w1", "no", "more", "and more"], ["", "", "", ""]])))
    written = []
    for line in lines:
        if raw:
            written.append(delimiter.join(line))
        else:
            cell = io.StringIO(newline="")
            csv.writer(cell, delimiter=delimiter, quoting=quoting, lineterminator="").writerow(line)
            written.append(cell.getvalue())
    if blank_lines:
        written.insert(draw(st.integers(1, len(written))), "")
    content = end.join(written) + (end if draw(st.booleans()) else "")
    try:
        data = content.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
        raise
    if encoding in ("latin-1", "cp1252"):
        assume(not _is_utf8(data))
    name = f"table{suffix}{'.gz' if compressed else ''}"
    readings = [
        _reading(content, delimiter, text, label, csv.QUOTE_NONE if raw else csv.QUOTE_MINIMAL),
        *([_reading(content, delimiter, text, label, csv.QUOTE_MINIMAL)] if raw and not plain else []),
    ]
    return Table(
        name,
        gzip.compress(data, mtime=0) if compressed else data,
        readings[0],
        plain,
        (text, label),
        tuple(readings[1:]),
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reading(content: str, delimiter: str, text: str, label: str, quoting: Any) -> list[tuple[str | None, str | None]]:
    """By the csv module: rows of nothing at all do not count."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, quoting=quoting)
    header, *rows = [row for row in reader if any(row)]
    places = header.index(text), header.index(label)
    return [tuple(row[i] if i < len(row) else None for i in places) for row in rows]  # type: ignore[misc]


@st.composite
def records(draw: st.DrawFn, classes: Sequence[str] | None = None) -> Table:
    """JSON: a line a record, or one list of them."""
    plain = draw(st.booleans())
    rows: list[dict[str, Any]] = [{"text": t, "label": x} for t, x in draw(columns_of(classes, odd=not plain))]
    known = draw(st.sampled_from(CLASSES)) if classes is None else classes
    name, indent, array = "table.jsonl", None, False
    if not plain:
        name = draw(st.sampled_from(["table.jsonl", "table.json", "table.jsonl.gz"]))
        array = draw(st.booleans())
        indent = draw(st.sampled_from([None, 2])) if array else None
        for row in rows:
            change = draw(
                st.sampled_from(["", "", "", "absent", "null", "index", "float", "bool", "list", "more", "text"])
            )
            if change == "absent":
                del row[draw(st.sampled_from(["text", "label"]))]
            elif change == "null":
                row[draw(st.sampled_from(["text", "label"]))] = None
            elif change == "text":
                row["text"] = draw(st.sampled_from([1, 1.5, True, ["w1"], {"a": 1}]))
            elif change == "more":
                row["more"] = draw(st.sampled_from([1, "x", None, [1, "x"], {"a": 1}]))
            elif change:
                row["label"] = {"index": 1, "float": 1.0, "bool": True, "list": [known[0]]}[change]
    asciified = draw(st.booleans())
    if array:
        content = json.dumps(rows, ensure_ascii=asciified, indent=indent)
    else:
        written = [json.dumps(row, ensure_ascii=asciified) for row in rows]
        if draw(st.booleans()):
            written.insert(draw(st.integers(0, len(written))), "")
        content = "\n".join(written) + "\n"
    data = content.encode("utf-8")
    found = [(_word(row.get("text")), _word(row.get("label"))) for row in rows]
    return Table(name, gzip.compress(data, mtime=0) if name.endswith(".gz") else data, found, plain)


def _word(value: Any) -> str | None:
    """A value as text: what names a class."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


@st.composite
def parquets(draw: st.DrawFn, classes: Sequence[str] | None = None) -> Table:
    plain = draw(st.booleans())
    rows: list[tuple[Any, Any]] = list(draw(columns_of(classes, odd=not plain)))
    kinds: tuple[Any, Any] = (pa.string(), pa.string())
    if not plain:
        kind = draw(st.sampled_from(["string", "large", "dictionary", "integers", "floats", "bools", "bytes", "nulls"]))
        if kind in ("integers", "floats", "bools"):
            values = {"integers": (0, 1, -1), "floats": (0.0, 1.0), "bools": (True, False)}[kind]
            rows = [(t, draw(st.sampled_from((*values, None)))) for t, _ in rows]
            kinds = (pa.string(), {"integers": pa.int64(), "floats": pa.float64(), "bools": pa.bool_()}[kind])
        elif kind == "nulls":
            rows = [(draw(st.sampled_from([t, t, None])), draw(st.sampled_from([x, x, None]))) for t, x in rows]
        elif kind == "bytes":
            kinds = (pa.string(), pa.binary())
        else:
            wide = {
                "string": pa.string(),
                "large": pa.large_string(),
                "dictionary": pa.dictionary(pa.int32(), pa.string()),
            }
            kinds = (wide[kind], wide[kind])
    cells = [x.encode() if kinds[1] == pa.binary() else x for _, x in rows]
    table = pa.table({"text": pa.array([t for t, _ in rows], kinds[0]), "label": pa.array(cells, kinds[1])})
    file = io.BytesIO()
    pq.write_table(table, file)
    return Table("table.parquet", file.getvalue(), [(t, _word(x)) for t, x in rows], plain)


TABLES = st.one_of(delimited(), delimited(), records(), parquets())
