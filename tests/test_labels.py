"""Labels as people write them: the same class under two spellings, no class at all, and the order of a model's."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import PretrainedConfig, PreTrainedTokenizerFast

import factcli
from factcli.data.labels import by_output, outputs_of_classes
from factcli.data.names import Names, alike, number, plain, sort_names
from factcli.data.tasks import MULTI, Task, load_split, user_task
from factcli.errors import FactcliError, UsageError
from factcli.models.model import find_model
from factcli.scores.evaluating import file_task

from .tiny import make
from .training_helpers import rows, save_model, write_csv

HEAD = "BertForSequenceClassification"


def classes(folder: Path, *labels: str, **options: Any) -> tuple[str, ...]:
    return user_task({"train": write_csv(folder / "d.csv", [("t", x) for x in labels])}, **options).labels


def test_spellings() -> None:
    same = [("Not Equivalent", "not_equivalent"), ("not-equivalent", "NOT  equivalent "), ("müde", "mu\u0308de")]
    assert all(plain(a) == plain(b) for a, b in same)
    other = [("-1", "1"), ("A-", "A"), ("A+", "A"), ("grade -1", "grade 1"), ("1-2", "12"), ("1.5", "15"), ("01", "1")]
    assert all(plain(a) != plain(b) for a, b in other)
    assert alike(" Pos") == alike("pos") != alike("po_s")
    assert [number(t) for t in ("1e5", " -2.5 ", "1_0", "1,5", "nan", "", "\u0663")] == [1e5, -2.5, *[None] * 5]
    assert sort_names(["10", "-2", "9"]) == ("-2", "9", "10")
    assert sort_names(["10", "²", "9" * 5000]) == ("10", "9" * 5000, "²")


def test_a_name_is_looked_up_as_it_is_spelt_first() -> None:
    known = Names(["US", "us", "not_US"])
    assert [known.index(n) for n in ("us", "US", "Us", "Not us", "them")] == [1, 0, None, 2, None]
    assert Names(["0", "1"]).index("1.0") == 1
    assert Names(["01", "1"]).index("01") == 0


def test_classes_are_called_as_the_file_calls_them(tmp_path: Path) -> None:
    assert classes(tmp_path, "01", "1") == ("01", "1")
    assert classes(tmp_path, "true", "FALSE") == ("FALSE", "true")
    assert classes(tmp_path, "NA", "None", "null", "nan") == ("NA", "None", "nan", "null")
    assert classes(tmp_path, "1.0", "0.0", "10") == ("0", "1", "10")
    assert classes(tmp_path, "1.0", "x") == ("1.0", "x")
    assert classes(tmp_path, "2020-01-01", "1e5") == ("1e5", "2020-01-01")
    assert classes(tmp_path, "-1", "1") == ("-1", "1")
    assert classes(tmp_path, "9" * 400, "1", "²") == ("1", "9" * 400, "²")
    file = tmp_path / "d.jsonl"
    file.write_text("\n".join(json.dumps({"text": "t", "label": x}) for x in (True, False, "TRUE")))
    assert user_task({"train": file}, labels=("true", "false")).labels == ("true", "false")
    assert load_split(user_task({"train": file}, labels=("true", "false")), "train")["label"][:] == [0, 1, 0]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["pos", "neg", "Pos"], "Row 3 of .* has the label 'Pos', row 1 has 'pos': write them alike"),
        (["0", "1", "-1", "-1"], "Rows 3 and 4 of .* have the label -1, no label: .* --label-names=-1,0,1"),
        (["-1", "-1"], "Rows 1 and 2 of .* have the label -1, no label: give rows with labels"),
        (["0", "1", "-100"], "Row 3 of .* has the label -100"),
        (["1,5", "2"], "numbers with a decimal comma .*: write them with a point"),
        (["[0, 1]", "['a']"], "has lists .* write them to a jsonl or parquet file"),
    ],
)
def test_labels_that_cannot_be_meant(labels: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(FactcliError, match=said):
        classes(tmp_path, *labels)


def test_spaces_around_a_label_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert classes(tmp_path, "pos", "neg", "pos ") == ("neg", "pos")
    assert "Row 3 of" in caplog.text
    assert "('pos '), which is read as 'pos'" in caplog.text
    caplog.clear()
    assert classes(tmp_path, " pos", " neg") == ("neg", "pos")
    assert not caplog.messages


def test_two_files_of_different_types(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [("t", "1"), ("t", "0")])
    for name, values in (("a", [1, 0]), ("b", [1.0, 0.0]), ("c", ["1", "0"]), ("d", [" 1", "0 "])):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(json.dumps({"text": "t", "label": v}) for v in values))
        assert load_split(user_task({"train": train, "validation": file}))["label"][:] == [1, 0]
    file.write_text('{"text": "t", "label": 1}\n{"text": "t", "label": 2}\n{"text": "t", "label": -1}')
    with pytest.raises(FactcliError, match=r"Row 2 of .* has the label '2'; the known labels are 0, 1: correct it"):
        load_split(user_task({"train": train, "validation": file}))
    file.write_text('{"text": "t", "label": 1}\n{"text": "t", "label": -1}\n{"text": "t", "label": -1}')
    with pytest.raises(FactcliError, match=r"Rows 2 and 3 of .* have the label -1, no label: leave such rows out"):
        load_split(user_task({"train": train, "validation": file}))
    named = user_task({"train": train}, labels=("no", "yes"), numbered=True)
    assert load_split(named, "train")["label"][:] == [1, 0]


def test_names_and_columns_that_cannot_be(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "d.csv", [("t", "0.5"), ("t", "1")])
    for options, said in (
        ({"labels": ["a", "a"], "numbered": True}, "gives a label twice"),
        ({"labels": ["a", ""], "numbered": True}, "or an empty one"),
        ({"labels": ["a", "b"], "numbered": True}, "--label-names has no effect on numbers"),
        ({"text_columns": ["Text", "text"]}, "is given twice"),
        ({"text_columns": ["a", "b", "c"]}, "Give --text-column once, or twice for sentence pairs"),
        ({"label_column": "TEXT", "labels": ["t", "u"]}, "holds texts: choose another one with --label-column"),
    ):
        with pytest.raises(UsageError, match=said):
            load_split(user_task({"train": file}, **options), "train")  # type: ignore[arg-type]


def test_numbers_of_a_regression(tmp_path: Path) -> None:
    for bad in ("1_000", "1,5", "nan", "inf", "1e999", "\u0663", "true"):
        file = write_csv(tmp_path / "d.csv", [("t", "0.5"), ("t", bad)])
        with pytest.raises(FactcliError, match=r"Row 2 of .* not a number\."):
            load_split(user_task({"train": file}, regression=True), "train")
    lists = tmp_path / "d.jsonl"
    lists.write_text('{"text": "t", "label": [0.5, 1]}\n{"text": "t", "label": [1]}')
    with pytest.raises(FactcliError, match="has lists in column 'label', not numbers: write one a row"):
        user_task({"train": lists}, regression=True)
    file = write_csv(tmp_path / "d.csv", [("t", " 1e-3"), ("t", "+2"), ("t", ".5")])
    assert load_split(user_task({"train": file}), "train")["label"][:] == [0.001, 2.0, 0.5]


def config(*names: str, **values: Any) -> PretrainedConfig:
    return PretrainedConfig(id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}, **values)


def test_orders_of_a_models_outputs() -> None:
    task = Task("t", ("text",), ("A", "A-", "not_B"))
    assert outputs_of_classes(task, config("Not B", "a-", "a"), "m") == [2, 1, 0]
    with pytest.raises(FactcliError, match="so their order is unknown"):
        outputs_of_classes(task, config("Not B", "a-", "b"), "m")
    assert outputs_of_classes(task, config("LABEL_0", "LABEL_1", "LABEL_2"), "m") is None
    named = Task("t", ("text",), tuple(f"LABEL_{i}" for i in (1, 0)))
    assert outputs_of_classes(named, config("LABEL_0", "LABEL_1"), "m") == [1, 0]
    with pytest.raises(FactcliError, match=r"m answers with any number of labels .* but t has one label"):
        outputs_of_classes(task, config("a", "b", "c", problem_type=MULTI), "m")
    many = config(*(f"LABEL_{i}" for i in range(12)))
    some = Task("t", ("text",), ("LABEL_10", "LABEL_2"))
    assert by_output(some, many)[2] == "LABEL_2"
    assert by_output(Task("t", ("text",), ("0", "7")), many)[7] == "7"


def test_ids_and_names_against_a_model_with_names(tmp_path: Path) -> None:
    names = {"id2label": {0: "NEGATIVE", 1: "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}
    model = str(save_model(tmp_path / "m", "bert", HEAD, initializer_range=0.5, **names))
    words = [(text, {"no": "negative", "yes": "positive"}[label]) for text, label in rows(20, 3)]
    ids = [(text, str(int(label == "positive"))) for text, label in words]
    right = factcli.evaluate(model, validation=write_csv(tmp_path / "w.csv", words))[0]["metrics"]
    file = write_csv(tmp_path / "ids.csv", ids)
    with pytest.raises(
        FactcliError, match=r"the label '[01]'; the known labels are NEGATIVE, POSITIVE: .*--label-names"
    ):
        factcli.evaluate(model, validation=file)
    for given in (["0", "1"], ["NEGATIVE", "POSITIVE"]):
        assert factcli.evaluate(model, validation=file, label_names=given)[0]["metrics"] == right
    other = write_csv(tmp_path / "other.csv", [(text, str(1 - int(label))) for text, label in ids])
    assert factcli.evaluate(model, validation=other, label_names=["1", "0"])[0]["metrics"] == right
    # Fine-tuning keeps the model's own names.
    options: dict[str, Any] = {
        "train": file,
        "validation": file,
        "max_steps": 1,
        "learning_rate": 1e-9,
        "save_steps": 0,
    }
    tuned = factcli.finetune(model, tmp_path / "out", label_names=["0", "1"], **options)
    assert tuned["metrics"] == right
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}


def test_ids_count_in_the_order_that_the_user_gives(tmp_path: Path) -> None:
    """Names are read in the order of the training, on which F1 depends; ids are outputs, whose names the user gives."""
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    source = find_model(str(save_model(tmp_path / "m", "bert", "BertForSequenceClassification", **names)))
    for file, labels in (("names.csv", ("no", "yes")), ("ids.csv", ("yes", "no"))):
        data = [("w1", "yes" if file == "names.csv" else "0"), ("w2", "no" if file == "names.csv" else "1")]
        write_csv(tmp_path / file, data)
        task = file_task(source, tmp_path / file, (), "label", ("yes", "no"), ("no", "yes"))
        assert task.labels == labels
        assert list(load_split(task, "validation")["label"]) == ([1, 0] if file == "names.csv" else [0, 1])


def test_a_label_that_a_tokenizer_does_not_know(tmp_path: Path) -> None:
    """Of a vocabulary of letters that has no token for others, a model cannot answer with a word of others."""
    letters = {letter: i for i, letter in enumerate(["<pad>", "</s>", *"abcdefghijklmnopqrstuvwxyz: "])}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>").save_pretrained(tmp_path)
    make("t5", "T5ForConditionalGeneration").save_pretrained(tmp_path)
    file = write_csv(tmp_path / "d.csv", [("good", "ja"), ("bad", "нет")])
    with pytest.raises(FactcliError, match="gives no token for the label 'нет': name it otherwise"):
        factcli.evaluate(str(tmp_path), validation=file)
    assert not (tmp_path / "eval_results.json").exists()
