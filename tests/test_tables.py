"""Tables as people have them: read to the last row, or refused in a sentence that names the row and what to do."""

import bz2
import csv
import gzip
import json
import lzma
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from factcli.data.hub_sets import parse_id
from factcli.data.tables import read_table, stem
from factcli.data.tasks import GLUE, Task, load_split, user_task
from factcli.errors import FactcliError, UsageError

TEXTS = ["film très bon", 'say "no",\nthen; go', "0012"]
LABELS = ["a", "b", "a"]


def read(path: Path, **options: Any) -> tuple[list[str], list[Any], Task]:
    """Texts, labels by name, and the task of a training file."""
    task = user_task({"train": path}, **options)
    data = load_split(task, "train")
    labels = [task.labels[i] if task.labels else i for i in data["label"]]
    return list(data["text"]), labels, task


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(FactcliError) as caught:
        read(path, **options)
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 600 + len(str(path))
    return said


def delimited(delimiter: str, ends: str = "\n") -> str:
    rows = [["text", "label"], *map(list, zip(TEXTS, LABELS, strict=True))]
    quoted = [[f.replace('"', '""') for f in row] for row in rows]
    return ends.join(delimiter.join(f'"{f}"' for f in row) for row in quoted) + ends


def lines() -> str:
    return "".join(json.dumps({"text": t, "label": x}) + "\n\n" for t, x in zip(TEXTS, LABELS, strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", delimited(",")),
        ("d.csv", delimited(",", "\r\n")),
        ("d.csv", delimited(";")),
        ("d.csv", delimited("\t")),
        ("d.csv", delimited("|")),
        ("d.tsv", delimited("\t")),
        ("d.tsv", delimited(",")),
        ("d.jsonl", lines()),
        ("d.ndjson", lines().replace("\n", "\r\n")),
        ("d.json", lines()),
        ("d.json", json.dumps([json.loads(line) for line in lines().split("\n\n")[:-1]], indent=2, ensure_ascii=False)),
    ],
)
def test_every_way_to_write_a_table_reads_the_same(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    texts, labels, _ = read(tmp_path / name)
    assert texts == TEXTS
    assert labels == LABELS


def test_utf16_of_either_order(tmp_path: Path) -> None:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        (tmp_path / "d.csv").write_bytes(mark + delimited(",").encode(encoding))
        assert read(tmp_path / "d.csv")[0] == TEXTS
        (tmp_path / "d.csv").write_bytes(delimited(",").encode(encoding))
        assert f"not UTF-8 but {encoding.upper().replace('-16-', '-16')} without" in refusal(tmp_path / "d.csv")
        (tmp_path / "d.csv").write_bytes(mark + delimited(",").encode(encoding)[:-1])
        assert "begins as UTF-16 but is damaged in row" in refusal(tmp_path / "d.csv")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed(suffix: str, tmp_path: Path) -> None:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".zst":
            with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as file:
                file.write(content)
        else:
            path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[suffix].compress(content))
        return path

    assert read(write("d.csv", delimited(",").encode()))[0] == TEXTS
    assert read(write("d.jsonl", lines().encode()))[0] == TEXTS
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), tmp_path / "d.parquet")
    assert read(write("d.parquet", (tmp_path / "d.parquet").read_bytes()))[0] == TEXTS
    damaged = write("d.csv", delimited(",").encode() * 50)
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert "is damaged" in refusal(damaged)
    damaged.write_bytes(delimited(",").encode())
    assert "not compressed as its name says" in refusal(damaged)
    assert stem(damaged) == "d"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.csv", "text,label\ngood,gut\nbad,müde\n".encode("cp1252"), "byte 0xfc in row 2) but probably Windows-1252"),
        ("d.csv", 'text,label\n"a\nb",x\n\nbad,m\xfcde\n'.encode("latin-1"), "in row 2"),
        ("d.csv", 'text;label\nx;"a\nb"\nbad;m\xfcde\n'.encode("latin-1"), "in row 2"),
        ("d.csv", "t\xe9xt,label\na,b\n".encode("latin-1"), "in the row of column names"),
        ("d.tsv", 'text\tlabel\n"a\tx\nb\tm\xfcde\n'.encode("latin-1"), "in row 2"),
        ("d.jsonl", b'{"text": "a", "label": 1}\n{"text": "m\xfcde", "label": 1}', "in line 2"),
        ("d.txt", b"a\r\nb\r\nm\xfcde", "in line 3"),
        ("d.csv", b"text,label\n\xf5\xee\xf0\xee\xf8\xe8\xe9,a\n", "its encoding cannot be told"),  # Windows-1251
        ("d.csv", "text,label\n映画が好き,a\n".encode("shift_jis"), "its encoding cannot be told"),
        ("d.csv", b"text,label\na,1\nb\0c,0\n", "NUL byte in row 2"),
        (
            "d.csv",
            "text,label\na,1\nb\0c,0\n".encode("utf-16"),
            "NUL character in row 2, so it is damaged: take it out",
        ),
        ("d.csv", gzip.compress(b"text\na\n", mtime=0), "is gzip-compressed"),
        ("d.csv", b"PK\x03\x04...", "Excel workbook"),
        ("d.jsonl", b"PAR1...", "is parquet"),
        ("d.xlsx", b"PK\x03\x04...", "Save the sheet as csv"),
        ("d.csv.zip", b"PK\x03\x04...", "not a kind of file"),
        ("d.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("d.arrow", b"ARROW1 and no more", "cannot be read as arrow"),
    ],
)
def test_encodings_and_formats_that_are_not_read(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name, label_column=None if name.endswith("txt") else "label")


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('a "good film\t1\nbad plot"\t0\n"great" cast\t1\n"whole"\t0\n',
         ['a "good film', 'bad plot"', '"great" cast', '"whole"']),
        ('"open\t1\nclose"\t0\n', ['"open', 'close"']),
        ('"say ""no"" now"\t1\nplain\t0\n', ['say "no" now', "plain"]),
        ('"a\tb"\t1\n"c\nd"\t0\n', ["a\tb", "c\nd"]),
    ],
)  # fmt: skip
def test_quotes_between_tabs(content: str, texts: list[str], tmp_path: Path) -> None:
    """Ordinary characters, as in GLUE's own files, unless a writer of quoted fields put them there."""
    (tmp_path / "d.tsv").write_text("text\tlabel\n" + content)
    assert read(tmp_path / "d.tsv")[0] == texts


def test_what_pythons_own_writer_writes(tmp_path: Path) -> None:
    odd = ["a\tb", 'a"b', '"a"', "a,b;c|d", "a\nb", "a\r\nb", " a ", "a\u2028b", "x" * 2_000_000, "'", "\\", "NA"]
    for name, dialect in (("d.csv", "excel"), ("d.tsv", "excel-tab"), ("u.csv", "unix")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, dialect).writerows([("text", "label"), *((t, "ab"[i % 2]) for i, t in enumerate(odd))])
        assert read(tmp_path / name)[0] == odd
    rows = [json.dumps({"text": t, "label": i % 2}, ensure_ascii=False) for i, t in enumerate(odd)]
    (tmp_path / "d.jsonl").write_text("\n".join(rows), encoding="utf-8", newline="")
    assert read(tmp_path / "d.jsonl")[0] == odd
    assert csv.field_size_limit() == 131_072


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,1\nb, c,0\n", "Row 2 of .* has 3 fields .* names has 2: put texts that hold ',' in quotes"),
        ("a,1\n\n\nb\n", "Row 2 of .* has 1 field "),
        ('a,1\n"open,0\nc,1\n', "quotes in row 2"),
        ('"a \\"good\\" film",1\nb,0\n', "quotes in row 1"),
        (",1\nb,0\n", "Row 1 of .* has no text in column 'text'"),
        ("a,1\nb,0\n , 1\n", "Row 3 of .* has no text"),
        ("a,1\nb,\nc,0\nd,  \n", "Rows 2 and 4 of .* have no label"),
        ("".join(f"t{i},\n" for i in range(9)), "Rows 1, 2, 3, 4, 5 and 4 more of .* have no label"),
        ("a,1;5\n", "one class only"),
    ],
)
def test_rows_are_named(rows: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\n" + rows)
    with pytest.raises(FactcliError, match=said):
        read(tmp_path / "d.csv")


def test_blank_lines_are_skipped_and_empty_rows_at_the_end_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "d.csv").write_text("text,label\na,1\n\n   \nb,0\n,\n,\n")
    assert read(tmp_path / "d.csv")[0] == ["a", "b"]
    assert caplog.messages == [f"{tmp_path / 'd.csv'} ends with 2 rows of empty fields, which are left out."]


def test_quotes_that_may_be_meant_otherwise_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "d.csv"
    file.write_text('text,label\na,1\n"sad film,0\nbad plot",0\n')
    assert read(file)[0] == ["a", "sad film,0\nbad plot"]
    assert f"Row 2 of {file} goes over several lines" in caplog.text
    caplog.clear()
    file.write_text('text,label\na,1\n"sad film\nbad plot",0\n')
    assert read(file)[0] == ["a", "sad film\nbad plot"]
    assert not caplog.messages


def test_columns_are_found_whatever_their_case_and_spaces(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "d.csv"
    file.write_text(" Text ,LABEL\na,1\nb,0\n")
    assert read(file)[0] == ["a", "b"]
    assert caplog.messages == [
        f"{file}: column 'Text' is read as 'text'.",
        f"{file}: column 'LABEL' is read as 'label'.",
    ]
    file.write_text("text,text,label\na,x,1\nb,y,0\n")
    assert "has 2 columns called 'text'" in refusal(file)
    file.write_text("Text,TEXT,label\na,x,1\nb,y,0\n")
    assert "has 2 columns ('Text' and 'TEXT')" in refusal(file)
    assert read(file, text_columns=["TEXT"])[0] == ["x", "y"]
    file.write_text("good film,1\nbad film,0\n")
    assert "has the columns good film, 1: say which" in refusal(file)
    assert "put a row of column names first" in refusal(file)
    with pytest.raises(UsageError, match="another one for --label-column"):
        read(file, text_columns=["label"])
    with pytest.raises(UsageError, match="a column for each"):
        read(file, text_columns=["a", "a"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.json", '{"data": [{"text": "a", "label": 1}], "version": "1"}', "has its rows under 'data'"),
        ("d.json", '{"text": ["a", "b"], "label": [1, 0]}', "has its rows by column"),
        ("d.json", '{\n"text": {"0": "a"},\n"label": {"0": 1}}', "has its rows by column"),
        ("d.json", '[{"text": "a"},]', "cannot be read as JSON"),
        ("d.json", '[{"text": "a", "label": 1, "text": "b"}]', "An object of .* has the key 'text' twice: rename one"),
        ("d.json", "[1, 2]", r"Row 1 of .* is not an object \(1\)"),
        ("d.json", "[" * 100_000, "nested too deeply"),
        ("d.json", "[]", "has no rows"),
        ("d.jsonl", '{"text": "a", "label": 1},\n', "Row 1 of .* ends with a comma"),
        ("d.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "la', "Row 2 of .* cannot be read as JSON"),
        ("d.jsonl", '{"text": "a", "label": 1}\n["b", 2]', "Row 2 of .* is not an object"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"text": 5, "label": 0}', "Row 2 of .* has a number in column 'text'"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"label": 0}', "Row 2 of .* has no text"),
        ("d.jsonl", '{"text": "a\\ud83d", "label": 1}\n', "Row 1 of .* half of a surrogate pair"),
        ("d.jsonl", '{"text": "a", "text": "b", "label": 1}\n', "Row 1 of .* has the key 'text' twice"),
        ("d.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "Row 1 of .* cannot be read as JSON"),
        ("d.jsonl", '{"text": "a", "label": {"x": 1}}\n{"text": "b", "label": 0}', "Row 1 of .* has an object"),
    ],
)
def test_json_that_is_no_table(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(FactcliError, match=said):
        read(tmp_path / name)


def test_json_with_other_keys_and_types_in_every_row(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(
        '{"text": "a\\ud83d\\ude00", "label": 1, "id": 7}\n{"label": "0", "x": [1], "text": "b"}\n'
        '{"text": "c", "label": 1.0}'
    )
    texts, labels, _ = read(tmp_path / "d.jsonl")
    assert texts == ["a\U0001f600", "b", "c"]
    assert labels == ["1", "0", "1"]
    (tmp_path / "one.json").write_text('{"text": "a",\n "label": "x", "entities": [{"start": 0}]}')
    assert load_split(user_task({"validation": tmp_path / "one.json"}, labels=["x", "y"]), "validation")["label"][
        :
    ] == [0]


def test_types_of_parquet_and_arrow(tmp_path: Path) -> None:
    texts = pa.array(TEXTS)
    kinds = [texts, texts.cast(pa.large_string()), texts.cast(pa.binary()), texts.dictionary_encode()]
    for kind in kinds:
        table = pa.table({"text": kind, "label": pa.array([1.0, 0.0, 1.0])})
        pq.write_table(table, tmp_path / "d.parquet")
        with pa.ipc.new_file(str(tmp_path / "d.feather"), table.schema) as file:
            file.write_table(table)
        with pa.ipc.new_stream(str(tmp_path / "d.arrow"), table.schema) as file:
            file.write_table(table)
        for name in ("d.parquet", "d.feather", "d.arrow"):
            found, labels, _ = read(tmp_path / name)
            assert found == TEXTS
            assert labels == ["1", "0", "1"]
    odd = {
        "Row 2 of .* has no label": pa.array([1.0, None, 0.0]),
        "Row 1 of .* has a date": pa.array([date(2020, 1, 1)] * 3),
        "Rows 1, 2 and 3 of .* have no label": pa.nulls(3),
        "column 'label' .* is not UTF-8 .byte 0xfc in row 2. but probably Windows-1252": pa.array(
            [b"a", b"m\xfcde", b"c"]
        ),
    }
    for said, column in odd.items():
        pq.write_table(pa.table({"text": texts, "label": column}), tmp_path / "d.parquet")
        with pytest.raises(FactcliError, match=f"(?i){said}"):
            read(tmp_path / "d.parquet")
    pq.write_table(
        pa.table({"text": texts, "label": pa.array([Decimal("0.5"), Decimal(1), Decimal(2)])}), tmp_path / "d.parquet"
    )
    assert read(tmp_path / "d.parquet")[1] == [0.5, 1.0, 2.0]
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xe9")]
    )
    pq.write_table(pa.table({"text": broken, "label": ["x", "y"]}), tmp_path / "d.parquet")
    assert "in row 2" in refusal(tmp_path / "d.parquet")
    pq.write_table(pa.table({"text": pa.nulls(3, pa.string()), "label": [1, 0, 1]}), tmp_path / "d.parquet")
    assert "Rows 1, 2 and 3 of" in refusal(tmp_path / "d.parquet")
    hive = tmp_path / "label=7"
    hive.mkdir()
    pq.write_table(pa.table({"text": texts, "label": LABELS}), hive / "d.parquet")
    assert read(hive / "d.parquet")[1] == LABELS  # what a directory is called is no column


def test_names_of_classes_that_a_file_keeps(tmp_path: Path) -> None:
    names = ["sad", "happy", "calm"]
    data = Dataset.from_dict(
        {"text": ["a", "b"], "label": [1, 0], "many": [[2, 0], []]},
        Features({"text": Value("string"), "label": ClassLabel(names=names), "many": List(ClassLabel(names=names))}),
    )
    data.to_parquet(tmp_path / "d.parquet")
    data.save_to_disk(tmp_path / "saved")
    shard = next((tmp_path / "saved").glob("*.arrow"))
    for file in (tmp_path / "d.parquet", shard):
        _, labels, task = read(file)
        assert task.labels == tuple(names)
        assert labels == ["happy", "sad"]
        many = user_task({"train": file}, label_column="many")
        assert many.multi_label
        assert load_split(many, "train")["label"][:] == [[1, 0, 1], [0, 0, 0]]
    assert f"is a directory: give a file in it ({shard.name}, " in refusal(tmp_path / "saved")
    (tmp_path / "val.csv").write_text("text,label\nx,Happy\ny,calm\n")
    both = user_task({"train": shard, "validation": tmp_path / "val.csv"})
    assert load_split(both)["label"][:] == [1, 2]


def test_glue_by_id_by_name_and_in_parts(tmp_path: Path) -> None:
    folder = tmp_path / "rte"
    folder.mkdir()

    def write(name: str, label: pa.Array) -> None:
        texts = ["a"] * len(label)
        pq.write_table(pa.table({"sentence1": texts, "sentence2": texts, "label": label}), folder / name)

    write("train-part-1.parquet", pa.array([0, 1], pa.int32()))
    write("train-part-2.parquet", pa.array([1.0]))
    assert load_split(GLUE["rte"], "train", tmp_path)["label"][:] == [0, 1, 1]
    write("validation.parquet", pa.array(["not_entailment", "entailment"]))
    assert load_split(GLUE["rte"], None, tmp_path)["label"][:] == [1, 0]
    pq.write_table(pa.table({"sentence1": ["a"], "label": [0]}), folder / "train-part-2.parquet")
    with pytest.raises(FactcliError, match="has other columns than"):
        load_split(GLUE["rte"], "train", tmp_path)


def test_texts_to_calibrate_on_may_have_blank_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq.write_table(pa.table({"text": ["", "a", None, "b", " "]}), tmp_path / "d.parquet")
    task = user_task({"train": tmp_path / "d.parquet"}, label_column=None)
    assert load_split(task, "train", skip_blank=True)["text"][:] == ["a", "b"]
    assert "3 rows of" in caplog.text
    with pytest.raises(FactcliError, match="Rows 1, 3 and 5 of"):
        load_split(task, "train")


def test_pairs_are_said_and_may_lack_one_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "d.csv").write_text("text,text_pair,label\na,,1\nb,c,0\n")
    data = load_split(user_task({"train": tmp_path / "d.csv"}), "train")
    assert data["text_pair"][:] == ["", "c"]
    assert caplog.messages == [
        f"{tmp_path / 'd.csv'}: columns text and text_pair are read as pairs.",
        f"Row 1 of {tmp_path / 'd.csv'} has an empty text in column 'text_pair'.",
    ]


def test_notes_stand_once_for_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "d.csv").write_text("text;label\na;1\nb;0\n")
    read(tmp_path / "d.csv")
    assert caplog.messages == [f"{tmp_path / 'd.csv'} is read with ';' between its columns."]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "none.csv")
    assert "is a directory: give a file" in refusal(tmp_path)
    (tmp_path / "empty.csv").touch()
    assert "is empty" in refusal(tmp_path / "empty.csv")
    (tmp_path / "blank.txt").write_text(" \n\n")
    with pytest.raises(FactcliError, match="has no rows"):
        read_table(tmp_path / "blank.txt")


def test_ids_of_data_sets() -> None:
    assert parse_id("owner/data.v2") == ("owner/data.v2", None)
    assert parse_id("owner/data:plain text") == ("owner/data", "plain text")
    assert [parse_id(t) for t in ("data", "a/b/c", "a/b:", "a/b:c/d", "C:\\x", "")] == [None] * 6
