"""Whatever people bring: generated tables, configurations and options give the right count, or one sentence.

FACTCLI_EXAMPLES is how many are tried in all, 500 by default.
"""

import csv
import gzip
import io
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING

from factcli import FactcliError
from factcli.cli import main

from . import tiny
from .training_helpers import save_model

try:
    from factcli.data.tasks import load_split, user_task
except ImportError:  # where the readers lie still
    from factcli.tasks import load_split, user_task

EXAMPLES = int(os.environ.get("FACTCLI_EXAMPLES", "500"))


def some(share: float) -> settings:
    """A share of the examples, the same ones in every run."""
    return settings(
        max_examples=max(1, round(share * EXAMPLES)), deadline=None, derandomize=True, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip


def call(*words: str) -> tuple[int, str, str]:
    """The command in this process: exit code, stdout, stderr. It never fails but with one sentence."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    logger = logging.getLogger("factcli")
    handlers, propagate = list(logger.handlers), logger.propagate
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["factcli", *words])
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            logger.handlers[:], logger.propagate = handlers, propagate
    said = err.getvalue()
    assert code in (0, 1, 2), said
    assert "Unexpected" not in said, said
    assert "Traceback" not in said, said
    if code:
        assert out.getvalue() == ""
        lines = said.strip().splitlines()
        assert lines[-1].startswith("Error: ") or (code == 2 and lines[0].startswith("Usage: ")), said
    event(f"exit code {code}")
    return code, out.getvalue(), said


# --- tables


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
BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(st.characters(codec="utf-8"), max_size=60).map(str.encode),
    TABLES.flatmap(lambda t: st.integers(0, len(t.data)).map(lambda at: t.data[:at])),
    TABLES.flatmap(lambda t: st.tuples(st.integers(0, len(t.data)), st.binary(max_size=4)).map(
        lambda change: t.data[:change[0]] + change[1] + t.data[change[0]:])),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


def same_label(found: str, written: str) -> bool:
    """As it was written, but for spaces around it and for 1.0, which may be 1."""
    plain = written.strip()
    return found in (plain, re.sub(r"^(-?\d+)\.0$", r"\1", plain))


@given(table=TABLES)
@some(0.35)
def test_tables_are_read_as_they_were_written(table: Table, folder: Path) -> None:
    file = table.write(folder)
    text, label = table.columns
    try:
        task = user_task({"validation": file}, [text], label)
        data = load_split(task, "validation")
    except FactcliError:
        if table.plain:
            raise
        event("refused")
        return
    event(f"read: {table.name}")
    if task.regression:
        assert [float(x) for x in data["label"]] in [[float(x) for _, x in rows] for rows in table.whole()]
        return
    found = list(zip(data["text"], data["label"], strict=True))
    names = [task.labels[x] if isinstance(x, int) else x for _, x in found]
    assert any(
        len(found) == len(rows)
        and all(t.strip() == given.strip() for (t, _), (given, _) in zip(found, rows, strict=True))
        and all(isinstance(n, list) or same_label(n, given) for n, (_, given) in zip(names, rows, strict=True))
        for rows in table.whole()
    ), (found, names, table.whole())


@given(
    content=st.lists(st.one_of(TEXTS, st.just("")), max_size=8), end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans()
)
@some(0.09)
def test_texts_are_lines(content: list[str], end: str, mark: bool, folder: Path) -> None:
    file = folder / "texts.txt"
    written = end.join(content)
    file.write_bytes(written.encode("utf-8-sig" if mark else "utf-8"))
    with file.open(encoding="utf-8-sig") as lines:
        expected = [line.strip() for line in lines if line.strip()]
    try:
        found = list(load_split(user_task({"train": file}, (), None), "train")["text"])
    except FactcliError:
        if expected:
            raise
        return
    assert found == expected


@given(
    data=BYTES,
    suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".csv.gz", ".jsonl.gz", ""]),
)
@some(0.1)
def test_any_bytes_are_a_table_or_a_sentence(data: bytes, suffix: str, folder: Path) -> None:
    file = folder / f"bytes{suffix}"
    file.write_bytes(data)
    for column in ("label", None):
        try:
            task = user_task({"train": file}, (), column)
            assert len(load_split(task, "train")) > 0
        except FactcliError as error:
            if "\n" in str(error):
                raise


# --- eval


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """It always says yes."""
    made = save_model(
        folder / "model", "bert", "BertForSequenceClassification", hidden_size=8, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    loaded = transformers.BertForSequenceClassification.from_pretrained(made)
    loaded.classifier.weight.data.zero_()
    loaded.classifier.bias.data.copy_(torch.tensor([0.0, 1.0]))
    loaded.save_pretrained(made)
    return made


@st.composite
def options(draw: st.DrawFn, good: dict[str, str], bad: dict[str, str]) -> dict[str, str]:
    """Some options by name, each with one of its values (words of a text); one time in four a bad one among them."""
    chosen = draw(st.lists(st.sampled_from(sorted(good)), unique=True, max_size=4))
    values = {name: draw(st.sampled_from(good[name].split(" "))) for name in chosen}
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(bad)))
        values[name] = draw(st.sampled_from(bad[name].split(" ")))
    return values


def flags(chosen: dict[str, str]) -> list[str]:
    """Words of a command line; "" stands for a flag that has no value."""
    return [f"--{name}={value}" if value else f"--{name}" for name, value in chosen.items()]


NO_COUNT = "0 -1 1.5 many"
EVALUATING = options(
    {"limit": "1 2 7 100000", "batch-size": "1 3 64", "max-length": "8 16 64", "label-names": "no,yes yes,no",
     "split": "validation", "device": "cpu auto", "head": "", "update-card": ""},
    {"limit": NO_COUNT, "batch-size": NO_COUNT, "max-length": f"1 2 100000 {NO_COUNT}", "split": "train test",
     "label-names": "no no,yes,maybe a,b no,no", "device": "toaster", "task": "sst2 sst3", "text-to-text": "",
     "data-dir": "nowhere", "revision": "main"},
)  # fmt: skip


@given(
    table=st.one_of(delimited(("no", "yes")), records(("no", "yes")), parquets(("no", "yes"))), chosen=EVALUATING,
)  # fmt: skip
@some(0.2)
def test_eval_counts_what_there_is(table: Table, chosen: dict[str, str], folder: Path, model: Path) -> None:
    """The accuracy of a model that always says yes is the share of yes, counted independently."""
    text, label = table.columns
    code, out, said = call(
        "eval", str(model), "--validation", str(table.write(folder)), "--text-column", text, "--label-column", label,
        "--json", *flags(chosen),
    )  # fmt: skip
    if code:
        assert not table.plain or chosen, said
        return
    result = json.loads(out)
    limit = int(chosen["limit"]) if "limit" in chosen else None
    assert limit is None or limit > 0
    second = "no" if chosen.get("label-names") == "yes,no" else "yes"
    counted = [(len(rows), sum(_agrees(x, second) for _, x in rows) / len(rows)) for rows in table.whole(limit) if rows]
    assert (result["examples"], pytest.approx(result["metrics"]["accuracy"])) in counted, (result, counted)


def _agrees(label: str, name: str) -> bool:
    return label.strip().lower() in (name, {"no": "0", "yes": "1"}[name], {"no": "false", "yes": "true"}[name])


# --- convert --dry-run


ODD_VALUES = st.sampled_from([None, -1, 0, 3, 1.5, "wide", "", [], {}, True, 10**12])
ODD_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "architectures": st.sampled_from([None, [], "BertModel", ["NoSuchModel"], ["BertModel", "x"], [None], {}]),
    "model_type": st.sampled_from([None, "", "bert", "gpt2", "t5", "factorized_bert", 3, "clip"]),
    "dtype": st.sampled_from(["float32", "bfloat16", "torch.float16", "int8", "x", 3, None]),
    "torch_dtype": st.sampled_from(["float32", "x", 3]),
    "auto_map": st.sampled_from([{}, {"AutoModel": "m.M"}, "x", None, {"AutoConfig": "other/repo--m.C"}]),
    "quantization_config": st.sampled_from([{}, None, {"bits": 4}]),
    "attn_implementation": st.sampled_from(["sdpa", "flash_attention_2", "x"]),
    "_attn_implementation": st.sampled_from(["eager", "flash_attention_2", "x"]),
    "id2label": st.sampled_from([{}, {"0": "a"}, {"x": "a"}, ["a", "b"], None, {"0": 1, "1": 2}]),
    "num_labels": st.sampled_from([1, 3, 0, -1, "x"]),
    "tie_word_embeddings": st.sampled_from([True, False, None, "x"]),
    "pad_token_id": st.sampled_from([None, 0, 5000, -1, "x", [0]]),
    "rope_scaling": st.sampled_from([None, {}, {"type": "linear", "factor": 2.0}, "x"]),
    "_name_or_path": st.sampled_from(["/home/someone/model", 3]),
    "transformers_version": st.sampled_from(["9.9.9", "x", 3]),
    "anything": st.sampled_from(["x", 3, None, [1], {"a": {}}]),
    "factorization": st.sampled_from([{}, None, {"format_version": 1}, {"format_version": 99, "layers": []}, "x"]),
}
WIDTHS = st.sampled_from([8, 12, 16, 24, 32])
SIZES = {
    "hidden_size": WIDTHS, "intermediate_size": WIDTHS, "num_hidden_layers": st.integers(1, 3), "dim": WIDTHS,
    "hidden_dim": WIDTHS, "n_layers": st.integers(1, 3), "d_model": WIDTHS, "d_ff": WIDTHS,
    "num_layers": st.integers(1, 3),
    "n_embd": WIDTHS, "n_layer": st.integers(1, 3), "encoder_layers": st.integers(1, 3),
    "decoder_layers": st.integers(1, 3),
    "encoder_ffn_dim": WIDTHS, "vocab_size": st.sampled_from([40, 99, 1000]), "embedding_size": WIDTHS,
}  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json: of any architecture and head, of other sizes, with keys that are odd or missing."""
    kind = draw(st.sampled_from(sorted(tiny.CONFIGS)))
    class_name, values = tiny.CONFIGS[kind]
    sizes = {k: draw(SIZES[k]) for k in values if k in SIZES and draw(st.booleans())}
    try:
        config: dict[str, Any] = getattr(transformers, class_name)(**(values | sizes)).to_dict()
    except Exception:  # sizes that transformers refuses by itself
        assume(False)
        raise
    config["architectures"] = [draw(st.sampled_from(tiny.heads(kind)))]
    for _ in range(draw(st.integers(0, 2))):
        change = draw(st.sampled_from(["key", "value", "gone"]))
        if change == "key":
            key = draw(st.sampled_from(sorted(ODD_KEYS)))
            config[key] = draw(ODD_KEYS[key])
        else:
            key = draw(st.sampled_from(sorted(config)))
            if change == "gone":
                config.pop(key)
            elif "layer" not in key or not isinstance(config[key], int):  # a million layers would only take long
                config[key] = draw(ODD_VALUES)
    return config


PLANNING = options(
    {"method": "low-rank block-low-rank monarch", "blocks": "1 2 4", "rank-multiple": "1 2 4", "criterion": "frobenius",
     "allocation": "uniform", "exclude": "query layer.0 q_proj", "dtype": "float32 bfloat16", "seed": "0 7",
     "device": "cpu", "force-rank": ""},
    {"method": "monarh ", "blocks": f"3 64 {NO_COUNT}", "rank-multiple": f"64 {NO_COUNT}",
     "criterion": "kfac sparsity x",
     "allocation": "global x", "include": "( nothing . query|key|q", "exclude": "[ .", "dtype": "int8", "seed": "-1 x",
     "device": "toaster", "solver": "cg x", "sparsity": "l1 x", "compensation": "none sequential x",
     "calibration-samples": f"8 {NO_COUNT}", "max-length": f"8 {NO_COUNT}", "fisher": "empirical x",
     "revision": "main"},
)  # fmt: skip
SHARES = st.floats(0.2, 0.95).map(lambda x: {"keep": f"{x:.3f}"})
BUDGETS = st.one_of(
    SHARES,
    SHARES,
    st.sampled_from(["1", "2", "5"]).map(lambda x: {"rank": x}),
    st.sampled_from(["12k", "30_000", "1e4", "80k"]).map(lambda x: {"params": x}),
    st.one_of(
        st.sampled_from(["0", "1", "-0.5", "nan", "inf", "1e-9", "half", "0.99999"]).map(lambda x: {"keep": x}),
        st.sampled_from(["500", "0", "-1", "x"]).map(lambda x: {"rank": x}),
        st.sampled_from(["1k", "44M", "0", "x", "-5", "nan", "1e999"]).map(lambda x: {"params": x}),
        st.sampled_from([{"keep": "0.5", "rank": "2"}, {}]),
    ),
)


@given(config=configurations(), budget=BUDGETS, chosen=PLANNING)
@some(0.18)
def test_a_plan_adds_up(config: dict[str, Any], budget: dict[str, str], chosen: dict[str, str], folder: Path) -> None:
    """Parameters are those of the model that transformers makes of the configuration; the budget is kept."""
    place = folder / "config"
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    code, out, _ = call("convert", str(place), "--dry-run", "--json", *flags(budget), *flags(chosen))
    if code == 0:
        check_plan(json.loads(out), place, config, budget)


def check_plan(plan: dict[str, Any], place: Path, config: dict[str, Any], budget: dict[str, str]) -> None:
    before, after = plan["parameters"]["before"], plan["parameters"]["after"]
    counted = count_parameters(place, config)
    assert counted <= before <= 1.01 * counted  # a bias that two layers share may stand in the file twice
    for layer in plan["layers"]:
        (m, n), rank, blocks = layer["shape"], layer["rank"], layer["blocks"] or 1
        assert layer["parameters"] == (m * n if layer["structure"] == "dense" else blocks * rank * (m + n))
    targets = plan["targets"]
    assert targets["before"] == sum(m * n for m, n in (layer["shape"] for layer in plan["layers"]))
    assert targets["after"] == sum(layer["parameters"] for layer in plan["layers"])
    assert before - after == targets["before"] - targets["after"]
    if "keep" in budget:
        assert targets["after"] <= float(budget["keep"]) * targets["before"]
    if "params" in budget:
        assert after <= {"12k": 12_000, "30_000": 30_000, "1e4": 10_000, "80k": 80_000}.get(budget["params"], 0)
    if "rank" in budget:
        assert {layer["rank"] for layer in plan["layers"]} <= {*range(1, int(budget["rank"]) + 1), None}


def count_parameters(place: Path, config: dict[str, Any]) -> int:
    machine = ("_attn_implementation", "_name_or_path")  # which the class may refuse, and a plan does not look at
    raw = {k: v for k, v in json.loads((place / "config.json").read_text()).items() if k not in machine}
    made = CONFIG_MAPPING[raw["model_type"]].from_dict(raw)
    names = config.get("architectures") or [None]
    cls = getattr(transformers, str(names[0]), None) or transformers.AutoModel._model_mapping[type(made)]
    with torch.device("meta"):
        return sum(p.numel() for p in cls(made).parameters())


# --- convert --dry-run with data


CALIBRATING = options(
    {"criterion": "activation kfac fisher fisher-rows", "allocation": "uniform global",
     "calibration-samples": "1 2 7 64",
     "max-length": "8 16 64", "seed": "0 7", "fisher": "sampled empirical", "method": "low-rank monarch",
     "blocks": "2 4",
     "rank-multiple": "1 2", "compensation": "none sequential"},
    {"criterion": "frobenius sparsity", "calibration-samples": NO_COUNT, "max-length": f"1 2 {NO_COUNT}", "blocks": "3",
     "fisher": "x", "solver": "cg adam-sgd", "data-revision": "main", "limit": "3"},
)  # fmt: skip


@given(
    table=st.one_of(delimited(("no", "yes")), records(("no", "yes"))), chosen=CALIBRATING, keep=st.floats(0.3, 0.9),
)  # fmt: skip
@some(0.08)
def test_calibration_counts_what_there_is(
    table: Table, chosen: dict[str, str], keep: float, folder: Path, model: Path
) -> None:
    text, label = table.columns
    budget = {"keep": f"{keep:.2f}"}
    code, out, _ = call(
        "convert", str(model), "--dry-run", "--json", "--calibration", str(table.write(folder)), "--text-column", text,
        "--label-column", label, "--device", "cpu", *flags(budget), *flags(chosen),
    )  # fmt: skip
    if code:
        return
    plan = json.loads(out)
    check_plan(plan, model, json.loads((model / "config.json").read_text()), budget)
    if plan.get("calibration"):
        most = int(chosen.get("calibration-samples", "512"))
        texts = replace(table, rows=[(t, "x") for t, _ in table.rows])
        counts = {min(most, len(rows)) for one in (table, texts) for rows in one.whole()}
        assert plan["calibration"]["examples"] in counts
