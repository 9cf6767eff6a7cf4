"""Where data come from, and every way in which they are not as they should be."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcli.data.tasks import GLUE, load_split, user_task
from factcli.errors import FactcliError, UsageError

from .training_helpers import write_csv, write_glue

TEXTS = ['say "no", then\nyes', "NA", "null", "naïve ☃", " spaces "]


def test_every_kind_of_file_reads_the_same(tmp_path: Path) -> None:
    labels = ["a", "b", "a", "b", "a"]
    write_csv(tmp_path / "d.csv", list(zip(TEXTS, labels, strict=True)))
    pq.write_table(pa.table({"text": TEXTS, "label": labels}), tmp_path / "d.parquet")
    with (tmp_path / "d.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": t, "label": x}) + "\n" for t, x in zip(TEXTS, labels, strict=True))
    (tmp_path / "t.tsv").write_text('text\tlabel\nsay "no\ta\nNA\tb\n', encoding="utf-8")
    for name in ("d.csv", "d.parquet", "d.jsonl"):
        data = load_split(user_task({"train": tmp_path / name}), "train")
        assert list(data["text"]) == TEXTS
        assert list(data["label"]) == [0, 1, 0, 1, 0]
    assert list(load_split(user_task({"train": tmp_path / "t.tsv"}), "train")["text"]) == ['say "no', "NA"]


def test_labels_are_named_and_ordered(tmp_path: Path) -> None:
    rows = [("x", "10"), ("y", "2"), ("z", "10")]
    task = user_task({"train": write_csv(tmp_path / "n.csv", rows)})
    assert task.labels == ("2", "10")
    assert task.metrics == ("accuracy", "f1")
    assert list(load_split(task, "train")["label"]) == [1, 0, 1]
    grades = user_task({"train": write_csv(tmp_path / "g.csv", [("x", "0.5"), ("y", "2")])})
    assert grades.regression
    assert list(load_split(grades, "train")["label"]) == [0.5, 2.0]
    texts = tmp_path / "corpus.txt"
    texts.write_text("one\n\n two \n", encoding="utf-8")
    assert load_split(user_task({"train": texts}, label_column=None), "train").to_dict() == {"text": ["one", "two"]}


def test_glue_from_a_directory_whole_and_in_parts(tmp_path: Path) -> None:
    write_glue(tmp_path, "mrpc", train=10, validation=6)
    data = load_split(GLUE["mrpc"], "train", tmp_path)
    assert data.column_names == ["text", "text_pair", "label"]
    assert len(load_split(GLUE["mrpc"], None, tmp_path)) == 6
    assert len(load_split(GLUE["mrpc"], "train", tmp_path, limit=3)) == 3
    (tmp_path / "mnli").mkdir()
    for part in ("a", "b"):
        table = pa.table({"premise": [part], "hypothesis": ["h"], "label": [2]})
        pq.write_table(table, tmp_path / "mnli" / f"validation_mismatched-part-{part}.parquet")
    assert list(load_split(GLUE["mnli-mm"], None, tmp_path)["text"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.csv": "text,label\n"}, {}, "no rows"),
        ({"a.csv": ""}, {}, "is empty"),
        ({}, {}, "is not there"),
        ({"a.doc": "x"}, {"file": "a.doc"}, "not a kind of file"),
        ({"a.csv": "text,label\nx,1\n"}, {}, "one class only"),
        ({"a.csv": "words,label\nx,1\ny,2\n"}, {}, "--text-column"),
        ({"a.csv": "words,label\nx,1\ny,2\n"}, {"text_columns": ["word"]}, "has no column 'word'"),
        ({"a.csv": "text,kind\nx,1\ny,2\n"}, {}, "has no column 'label'"),
        ({"a.jsonl": '{"text": 1, "label": 1}\n'}, {"file": "a.jsonl", "labels": ["1", "2"]}, "a number .*not text"),
        ({"a.jsonl": '{"text": null, "label": 1}\n{"text": "x", "label": 2}\n'}, {"file": "a.jsonl"}, "has no text"),
        ({"a.jsonl": "not json"}, {"file": "a.jsonl"}, "Row 1 of .* cannot be read as JSON"),
        ({"a.parquet": "not parquet"}, {"file": "a.parquet"}, "cannot be read as parquet"),
        ({"a.csv": "text,label\nx,1\ny,2\n"}, {"labels": ["1", "3"]}, "the label '2'; the known labels are 1, 3"),
        ({"a.jsonl": '{"text": "x", "label": 1}\n{"text": "y"}\n{"text": "z", "label": 2}\n'}, {"file": "a.jsonl"},
         "Row 2 of .* has no label"),
        ({"a.csv": "text,label\nx,high\ny,2\n"}, {"regression": True}, "'high' in column 'label', not a number"),
    ],
)  # fmt: skip
def test_bad_files(files: dict[str, str], options: dict[str, object], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    chosen = {k: v for k, v in options.items() if k != "file"}
    with pytest.raises(FactcliError, match=message):
        load_split(user_task({"train": tmp_path / str(options.get("file", "a.csv"))}, **chosen), "train")  # type: ignore[arg-type]


def test_other_bad_input(tmp_path: Path) -> None:
    write_glue(tmp_path, "sst2", train=4, validation=4)
    with pytest.raises(UsageError, match="did you mean 'sst2'"):
        GLUE["sst-2"]
    with pytest.raises(FactcliError, match="has train, validation; choose another --split"):
        load_split(GLUE["sst2"], "test", tmp_path)
    with pytest.raises(FactcliError, match="there is nothing in"):
        load_split(GLUE["cola"], "train", tmp_path)
    with pytest.raises(FactcliError, match="connect, or give --data-dir"):
        load_split(GLUE["sst2"], "train")
    pq.write_table(pa.table({"sentence": ["x"], "label": [-1]}), tmp_path / "sst2" / "test.parquet")
    with pytest.raises(FactcliError, match="GLUE keeps them"):
        load_split(GLUE["sst2"], "test", tmp_path)
