"""`evaluate` gives the number that training gave, without being told how; and what it keeps beside a model."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer, T5ForConditionalGeneration

import factcli
from factcli.errors import FactcliError
from factcli.models.model import find_model
from factcli.models.trained import Trained, read_trained
from factcli.scores.results import accuracies

from .training_helpers import rows, save_model, write_csv, write_glue

HEAD = "BertForSequenceClassification"
FAST: dict[str, Any] = {"max_steps": 6, "batch_size": 16, "learning_rate": 4e-3, "save_steps": 0}


def known(folder: Path) -> dict[str, float]:
    """The accuracies that hold for a model as it is now."""
    source = find_model(str(folder))
    return accuracies(source, source.stored.files)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "base", initializer_range=0.5)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The notes since the last call, without directories."""
    caplog.set_level(logging.WARNING, "factcli")

    def notes() -> list[str]:
        found = [r.getMessage().rpartition("/")[2] for r in caplog.records if r.name == "factcli"]
        caplog.clear()
        return found

    return notes


def both(base: Path, folder: Path, train: Path, validation: Path, **options: Any) -> tuple[Any, Any]:
    """What finetune and evaluate say of the same file."""
    own = factcli.finetune(str(base), folder / "out", train=train, validation=validation, **FAST | options)
    again = factcli.evaluate(str(folder / "out"), validation=validation)[0]
    return own["metrics"], again["metrics"]


def test_columns_and_length(base: Path, tmp_path: Path, said: Callable[[], list[str]]) -> None:
    """Pairs of columns with names of their own, in an order that matters, beside some that would be found first, cut
    where it matters."""
    table = [("w1", "w2", text, f"w3 w4 {i}", label) for i, (text, label) in enumerate(rows(48, 3))]
    columns = ("text", "text_pair", "body", "title", "stars")
    train, validation = (
        write_csv(tmp_path / "t.csv", table, columns),
        write_csv(tmp_path / "v.csv", table[:31], columns),
    )
    options = {"text_column": ["title", "body"], "label_column": "stars", "max_length": 16}
    own, again = both(base, tmp_path, train, validation, **options)
    assert own == again
    assert (
        "out is measured as it was trained: --max-length 16 --text-column 'title' --text-column 'body' " in said()[-1]
    )
    for other in ({"max_length": 8}, {"text_column": ["body", "title"]}, {"text_column": ["text"]}):
        explicit: dict[str, Any] = other
        assert factcli.evaluate(str(tmp_path / "out"), validation=validation, **explicit)[0]["metrics"] != own, other
    factcli.convert(str(tmp_path / "out"), tmp_path / "small", keep=0.9)  # remembers it as well
    assert read_trained(tmp_path / "small") == read_trained(tmp_path / "out")
    said()
    factcli.evaluate(str(tmp_path / "small"), validation=validation)
    assert "small is measured as it was trained: --max-length 16" in said()[-1]
    plain = write_csv(
        tmp_path / "plain.csv", rows(8, 3)
    )  # a file with other columns is read as usual, and that is said
    with pytest.raises(FactcliError):
        factcli.evaluate(str(tmp_path / "out"), validation=plain, label_column="stars")
    assert factcli.evaluate(str(tmp_path / "out"), validation=plain)[0]["examples"] == 8
    assert said()[-2] == "out was trained on other columns (title, body): text is read."


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str, base: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d.csv", [(text, str(i % 7 / 2)) for i, (text, _) in enumerate(rows(70, 4))])
    own, again = both(base, tmp_path, data, data, dtype=dtype, keep=0.5, schedule="direct", max_length=10)
    assert own == again  # a correlation, of which every digit depends on every weight


def test_regression(base: Path, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "t.csv", [(text, str(i % 7 / 2)) for i, (text, _) in enumerate(rows(48, 6))])
    whole = write_csv(tmp_path / "v.csv", [(text, str(i % 5)) for i, (text, _) in enumerate(rows(37, 7))])
    own, again = both(base, tmp_path, train, whole, max_length=9)
    assert own == again
    assert set(own) == {"pearson", "spearman"}


def test_labels_in_the_order_of_a_head_that_was_there(tmp_path: Path) -> None:
    """F1 is that of the task's second class, not of the model's."""
    data = write_csv(tmp_path / "d.csv", rows(60, 8, share=0.8))
    names = {"id2label": {0: "yes", 1: "no"}, "label2id": {"yes": 0, "no": 1}}
    source = save_model(tmp_path / "headed", "bert", HEAD, initializer_range=0.5, **names)
    own, again = both(source, tmp_path, data, data, max_steps=1, learning_rate=1e-5)
    assert own == again
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "yes", "1": "no"}
    named = factcli.evaluate(str(tmp_path / "out"), validation=data, label_names=["yes", "no"])[0]
    assert named["metrics"] == own


def test_answers_in_words(tmp_path: Path) -> None:
    """The prompt is that of the training file, and answers that the validation file lacks are still answers."""
    source = save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration")
    train = write_csv(tmp_path / "reviews.csv", rows(48, 3), ("body", "label"))
    validation = write_csv(tmp_path / "held-out.csv", [r for r in rows(48, 4) if r[1] == "yes"], ("body", "label"))
    own, again = both(source, tmp_path, train, validation, text_to_text=True, text_column=["body"], max_length=20)
    assert own == again
    kept = read_trained(tmp_path / "out")
    assert kept == Trained(None, ("body",), "label", ("no", "yes"), 20, "reviews")
    model = T5ForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    right = 0
    with torch.no_grad():
        for text, _ in rows(48, 4):
            given = tokenizer(f"reviews body: {text}", return_tensors="pt", truncation=True, max_length=20)
            losses = [
                len(ids) * model(**given, labels=torch.tensor([ids])).loss
                for ids in tokenizer(["no", "yes"])["input_ids"]
            ]
            right += int(bool(losses[1] < losses[0])) if _ == "yes" else 0
    assert own["accuracy"] == right / sum(label == "yes" for _, label in rows(48, 4))


@pytest.mark.parametrize("task", ["sst2", "mrpc"])
def test_a_task_with_its_own_data_and_a_teacher(task: str, base: Path, tmp_path: Path) -> None:
    glue = write_glue(tmp_path / "glue", task, train=48, validation=37)
    common: dict[str, Any] = {"task": task, "data_dir": glue}
    factcli.finetune(str(base), tmp_path / "teacher", **common, **FAST)
    own = factcli.finetune(
        str(base), tmp_path / "out", keep=0.5, schedule="direct", teacher=str(tmp_path / "teacher"), max_length=8,
        **common, **FAST,
    )  # fmt: skip
    results = factcli.evaluate([str(tmp_path / "out"), str(tmp_path / "teacher")], **common)
    assert results[0]["metrics"] == own["metrics"]
    assert results[1]["metrics"] == json.loads((tmp_path / "teacher/finetune_results.json").read_text())["metrics"]


def test_a_recipe_that_says_nothing_sensible(tmp_path: Path) -> None:
    for text in ("", "[1, 2]", "trained_on: 3", "a: [", "trained_on: {max_length: yes, labels: no, task: 3}", "\x00"):
        (tmp_path / "factcli_recipe.yaml").write_text(text)
        assert read_trained(tmp_path) == Trained(), text
    (tmp_path / "factcli_recipe.yaml").write_text("training: {max_length: 256}")  # as it was kept before
    assert read_trained(tmp_path) == Trained(max_length=256)
    assert read_trained(tmp_path / "none") == Trained()


# --- what is kept


@pytest.fixture
def measured(base: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A trained model, and what it was measured on."""
    data = write_csv(tmp_path / "d.csv", rows(48, 4))
    factcli.finetune(str(base), tmp_path / "out", train=data, validation=data, **FAST)
    return tmp_path / "out", data


def kept(folder: Path) -> list[tuple[Any, ...]]:
    found = json.loads((folder / "eval_results.json").read_text())
    return [(r["task"], r["examples"], r.get("limit")) for r in found]


def test_a_part_never_replaces_the_whole(measured: tuple[Path, Path]) -> None:
    folder, data = measured
    card = folder / "README.md"
    assert "| d | validation | 48 |" in card.read_text()
    limited = factcli.evaluate(str(folder), validation=data, limit=3, update_card=True)[0]
    assert limited["limit"] == 3
    assert kept(folder) == [("d", 3, 3)]
    assert "| d | validation | 48 |" in card.read_text()  # what the training measured
    assert "| d | validation | 3, limited |" in card.read_text()
    index = yaml.safe_load(card.read_text().split("---")[1])["model-index"]
    assert len(index[0]["results"]) == 1
    assert known(folder) == {}
    whole = factcli.evaluate(str(folder), validation=data, update_card=True)[0]
    assert kept(folder) == [("d", 48, None)]
    assert card.read_text().count("| d |") == 1
    factcli.evaluate(str(folder), validation=data, limit=5)
    factcli.evaluate(str(folder), validation=data, limit=5)
    factcli.evaluate(str(folder), validation=data, limit=4, update_card=True)
    assert kept(folder) == [("d", 48, None), ("d", 5, 5), ("d", 4, 4)]
    assert known(folder) == {"d validation": whole["metrics"]["accuracy"]}


def test_files_of_one_name(measured: tuple[Path, Path], tmp_path: Path) -> None:
    folder, data = measured
    (tmp_path / "other").mkdir()
    other = write_csv(tmp_path / "other" / "d.csv", rows(20, 5))
    factcli.evaluate(str(folder), validation=data)
    factcli.evaluate(str(folder), validation=other)
    assert kept(folder) == [("d", 48, None), ("d", 20, None)]
    moved = Path(shutil.copy(data, tmp_path / "moved.csv"))
    factcli.evaluate(str(folder), validation=moved, update_card=True)
    assert kept(folder) == [("d", 20, None), ("moved", 48, None)]
    named_like_a_task = Path(shutil.copy(data, tmp_path / "sst2.csv"))
    write_glue(tmp_path / "glue", "sst2", validation=16)
    factcli.evaluate(str(folder), validation=named_like_a_task)
    factcli.evaluate(
        str(folder), task="sst2", data_dir=tmp_path / "glue", label_names=["negative", "positive"], update_card=True
    )
    assert kept(folder) == [("d", 20, None), ("sst2", 48, None), ("sst2", 16, None)]
    rows_of_card = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| sst2 ")]
    assert len({line.split("|")[1] for line in rows_of_card}) == 2  # told apart


def test_results_of_other_weights_go(measured: tuple[Path, Path], base: Path, said: Callable[[], list[str]]) -> None:
    folder, data = measured
    short = write_csv(data.with_name("short.csv"), rows(16, 5))
    for file in (data, short):
        factcli.evaluate(str(folder), validation=file)
    other = factcli.finetune(str(base), folder.parent / "again", train=data, validation=data, seed=5, **FAST)
    shutil.copy(folder.parent / "again" / "model.safetensors", folder)  # as one who trains it on in place
    assert known(folder) == {}
    said()
    assert factcli.evaluate(str(folder), validation=data, update_card=True)[0]["metrics"] == other["metrics"]
    assert kept(folder) == [("d", 48, None)]
    assert "eval_results.json had 2 results of other weights, which are dropped." in said()
    assert (folder / "README.md").read_text().count("| d |") == 1


def test_where_nothing_can_be_written(measured: tuple[Path, Path], said: Callable[[], list[str]]) -> None:
    folder, data = measured
    (folder / "eval_results.json").mkdir()  # no file can take its place, whoever tries
    said()
    assert factcli.evaluate(str(folder), validation=data)[0]["examples"] == 48
    assert any("cannot be written" in note for note in said())
