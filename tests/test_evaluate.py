"""evaluate: against an independent computation, side by side, and label orders that do not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from transformers import AutoTokenizer, BertForSequenceClassification

import factcli
from factcli.data.labels import check_unnamed_order
from factcli.data.tasks import GLUE

from .training_helpers import rows, save_model, write_csv, write_glue

HEAD = "BertForSequenceClassification"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A classifier that knows its task, and the data."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_glue(folder / "glue", "sst2", train=256)
    write_glue(folder / "glue", "mrpc", train=256)
    factcli.finetune(
        str(save_model(folder / "tiny")), folder / "dense", task="sst2", data_dir=folder / "glue", epochs=5,
        batch_size=16, learning_rate=4e-3, save_steps=0,
    )  # fmt: skip
    return folder / "dense", folder / "glue"


def test_equals_an_independent_computation(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Plain torch, one example at a time and unpadded, and scikit-learn."""
    names = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    model_dir = save_model(tmp_path / "m", "bert", HEAD, initializer_range=0.5, **names)
    file = write_csv(tmp_path / "val.csv", rows(101, 5))
    result = factcli.evaluate(str(model_dir), validation=file, batch_size=7)[0]
    model = BertForSequenceClassification.from_pretrained(model_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    truth, answers = [], []
    with torch.no_grad():
        for text, label in rows(101, 5):
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
            answers.append(int(logits.argmax()))
            truth.append(int(label == "yes"))
    assert result["metrics"]["accuracy"] == sk.accuracy_score(truth, answers)
    assert result["metrics"]["f1"] == pytest.approx(sk.f1_score(truth, answers), abs=1e-12)
    assert result["majority"] == max(np.mean(truth), 1 - np.mean(truth))
    assert result["examples"] == 101
    again = factcli.evaluate(str(model_dir), validation=file, batch_size=7)[0]
    assert again["metrics"] == result["metrics"]


def test_regression_equals_scipy(tmp_path: Path) -> None:
    model_dir = save_model(tmp_path / "m", "bert", HEAD, num_labels=1)
    graded = [(text, str(i % 7 / 2)) for i, (text, _) in enumerate(rows(40, 6))]
    result = factcli.evaluate(str(model_dir), validation=write_csv(tmp_path / "val.csv", graded))[0]
    model = BertForSequenceClassification.from_pretrained(model_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    with torch.no_grad():
        scores = [float(model(**tokenizer(text, return_tensors="pt")).logits) for text, _ in graded]
    grades = [float(grade) for _, grade in graded]
    assert result["metrics"]["pearson"] == pytest.approx(stats.pearsonr(grades, scores).statistic, abs=1e-5)
    assert result["metrics"]["spearman"] == pytest.approx(stats.spearmanr(grades, scores).statistic, abs=1e-3)
    assert result["majority"] is None


def test_side_by_side_kept_and_put_into_the_card(trained: tuple[Path, Path], tmp_path: Path) -> None:
    dense, glue = trained
    factcli.convert(str(dense), tmp_path / "small", method="low-rank", keep=0.9)
    results = factcli.evaluate([str(dense), str(tmp_path / "small")], task="sst2", data_dir=glue, update_card=True)
    assert [r["model"] for r in results] == [str(dense), str(tmp_path / "small")]
    keys = ["model", "task", "split", "examples", "metrics", "majority", "failed_run", "seconds"]
    assert list(results[0]) == keys
    factcli.evaluate(str(tmp_path / "small"), task="sst2", split="train", data_dir=glue, limit=32, update_card=True)
    factcli.evaluate(str(tmp_path / "small"), task="sst2", data_dir=glue, update_card=True)
    kept = json.loads((tmp_path / "small" / "eval_results.json").read_text())
    assert [(r["split"], r["examples"]) for r in kept] == [("train", 32), ("validation", 64)]
    card = (tmp_path / "small" / "README.md").read_text()
    assert card.count("## Results") == 1
    assert card.count("| sst2 |") == 2
    assert "model-index:" in card


def relabel(source: Path, target: Path, names: list[str]) -> str:
    """A copy of a model that calls its outputs otherwise."""
    model = BertForSequenceClassification.from_pretrained(source)
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {n: i for i, n in enumerate(names)}
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    return str(target)


def test_labels_are_matched_by_name(trained: tuple[Path, Path], tmp_path: Path) -> None:
    dense, glue = trained
    right = factcli.evaluate(str(dense), task="sst2", data_dir=glue)[0]["metrics"]["accuracy"]
    common: dict[str, Any] = {"task": "sst2", "data_dir": glue}
    same_names = relabel(dense, tmp_path / "spelt", ["NEGATIVE", "Positive"])
    assert factcli.evaluate(same_names, **common)[0]["metrics"]["accuracy"] == right
    unnamed = relabel(dense, tmp_path / "unnamed", ["LABEL_0", "LABEL_1"])
    assert factcli.evaluate(unnamed, **common)[0]["metrics"]["accuracy"] == right  # ordinary use is not refused
    # The same model with its outputs exchanged: by name it is right, without names it stops.
    model = BertForSequenceClassification.from_pretrained(dense)
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight.flip(0))
        model.classifier.bias.copy_(model.classifier.bias.flip(0))
    model.save_pretrained(tmp_path / "flipped")
    AutoTokenizer.from_pretrained(dense).save_pretrained(tmp_path / "flipped")
    named = relabel(tmp_path / "flipped", tmp_path / "a", ["positive", "negative"])
    assert factcli.evaluate(named, **common)[0]["metrics"]["accuracy"] == right
    permuted = relabel(tmp_path / "flipped", tmp_path / "b", ["LABEL_0", "LABEL_1"])
    with pytest.raises(factcli.FactcliError, match=r"another order gives .* --label-names positive,negative"):
        factcli.evaluate(permuted, **common)
    said = factcli.evaluate(permuted, label_names=["positive", "negative"], **common)[0]
    assert said["metrics"]["accuracy"] == right
    strange = relabel(dense, tmp_path / "c", ["bad", "good"])
    with pytest.raises(factcli.FactcliError, match="calls its labels bad, good"):
        factcli.evaluate(strange, **common)
    assert factcli.evaluate(strange, label_names=["negative", "positive"], **common)[0]["metrics"]["accuracy"] == right
    # Fine-tuning keeps the model's own order.
    trained_on = factcli.finetune(named, tmp_path / "on", max_steps=2, batch_size=16, learning_rate=1e-6, **common)
    assert trained_on["metrics"]["accuracy"] >= right - 0.1


def test_a_permuted_order_of_three(trained: tuple[Path, Path]) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 500)
    right = np.where(draw.random(500) < 0.8, labels, draw.integers(0, 3, 500))
    check_unnamed_order(GLUE["mnli"], labels, right, "m")
    check_unnamed_order(GLUE["mnli"], labels, draw.integers(0, 3, 500), "m")  # knows nothing: the number says so
    check_unnamed_order(GLUE["mnli"], labels, np.zeros(500, dtype=int), "m")
    with pytest.raises(factcli.FactcliError, match="contradiction,entailment,neutral"):
        check_unnamed_order(GLUE["mnli"], labels, (right + 1) % 3, "m")


def test_bad_input(trained: tuple[Path, Path], tmp_path: Path) -> None:
    dense, glue = trained
    headless = str(save_model(tmp_path / "base"))
    three = str(save_model(tmp_path / "three", "bert", HEAD, num_labels=3))
    grades = write_csv(tmp_path / "grades.csv", [("w1", "0.5"), ("w2", "2")])
    common: dict[str, Any] = {"task": "sst2", "data_dir": glue}
    for model, options, message in (
        (headless, common, "no trained head"),
        (three, common, "a head for 3 labels"),
        (three, {"validation": grades}, "a head for 3 labels but grades is a regression: take a model of this task"),
        (str(dense), common | {"label_names": ["good", "bad"]}, "good,bad does not name each label of sst2 once: neg"),
        (str(dense), common | {"task": "sst3"}, "did you mean 'sst2'"),
        (str(dense), {}, "either --task"),
        (str(dense), common | {"split": "test"}, "test.parquet is not there"),
        (str(dense), common | {"limit": 0}, "below 1"),
        (str(dense), common | {"device": "cuda"}, "take --device cpu"),
        (str(tmp_path / "none"), common, "is not a directory"),
    ):
        if "device" in options and torch.cuda.is_available():
            continue
        with pytest.raises(factcli.FactcliError, match=message):
            factcli.evaluate(model, **options)
    (tmp_path / "bare").mkdir()
    BertForSequenceClassification.from_pretrained(dense).save_pretrained(tmp_path / "bare")
    with pytest.raises(factcli.FactcliError, match="has no tokenizer"):
        factcli.evaluate(str(tmp_path / "bare"), **common)
