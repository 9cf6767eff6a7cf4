"""Any number of labels an example: trained with a sigmoid each, measured with scikit-learn's micro and macro F1."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from transformers import AutoTokenizer, BertForSequenceClassification

import factcli
from factcli.calibration.losses import pseudo_loss
from factcli.data.labels import check_unnamed_order
from factcli.data.tasks import MULTI, SINGLE, Task, load_split, user_task
from factcli.errors import FactcliError, UsageError
from factcli.models.purpose import Purpose
from factcli.scores.metrics import compute_metrics, is_failed, majority_score
from factcli.training.distillation import logit_loss
from factcli.training.mixed import consistency_loss

from .training_helpers import WORDS, save_model, write_csv

MARKS = {"good": "happy", "bad": "angry", "no": "denial"}
NAMES = ["angry", "denial", "happy"]


def write(path: Path, count: int, seed: int, form: str = "names") -> Path:
    """Texts in which each of three words stands for a label, in jsonl; labels by name, id or as a 0 or 1 each."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        words = [w for w in MARKS if draw.random() < 0.4]
        labels: Any = [MARKS[w] for w in words]
        if form == "ids":
            labels = [NAMES.index(name) for name in labels]
        elif form == "multi-hot":
            labels = [int(name in labels) for name in NAMES]
        words += draw.choices(WORDS[:20], k=5)
        draw.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "label": labels}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a base model, and a model that was trained on them."""
    folder = tmp_path_factory.mktemp("multi")
    write(folder / "train.jsonl", 192, 1)
    write(folder / "val.jsonl", 61, 2)
    save_model(folder / "base")
    result = factcli.finetune(
        str(folder / "base"), folder / "trained", train=folder / "train.jsonl", validation=folder / "val.jsonl",
        epochs=3, batch_size=8, learning_rate=5e-3, save_steps=0, device="cpu",
    )  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def truth(file: Path) -> tuple[list[str], Any]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [r["text"] for r in rows], np.array([[int(n in r["label"]) for n in NAMES] for r in rows])


def test_trained_saved_and_measured(place: Path) -> None:
    """The number of training, of eval, and of plain transformers and scikit-learn on the saved model are one."""
    result = json.loads((place / "result.json").read_text())
    config = json.loads((place / "trained" / "config.json").read_text())
    assert config["problem_type"] == MULTI
    assert list(config["id2label"].values()) == NAMES
    again = factcli.evaluate(str(place / "trained"), validation=place / "val.jsonl", batch_size=7)[0]
    assert again["metrics"] == result["metrics"]
    model = BertForSequenceClassification.from_pretrained(place / "trained").eval()
    tokenizer = AutoTokenizer.from_pretrained(place / "trained")
    texts, labels = truth(place / "val.jsonl")
    with torch.no_grad():
        answers = np.array(
            [(model(**tokenizer(t, return_tensors="pt")).logits[0].sigmoid() > 0.5).int().tolist() for t in texts]
        )
    assert result["metrics"] == {
        "micro_f1": sk.f1_score(labels, answers, average="micro"),
        "macro_f1": sk.f1_score(labels, answers, average="macro", zero_division=0),
        "subset_accuracy": sk.accuracy_score(labels, answers),
    }
    assert list(result["metrics"]) == ["micro_f1", "macro_f1", "subset_accuracy"]
    assert result["metrics"]["micro_f1"] > 0.4  # it has learnt something
    assert result["majority"] == 0.0
    assert not result["failed_run"]


def test_names_ids_and_multi_hot_are_the_same_labels(place: Path, tmp_path: Path) -> None:
    expected = load_split(user_task({"train": place / "val.jsonl"}), "train")["label"][:]
    assert expected == truth(place / "val.jsonl")[1].tolist()
    for form in ("ids", "multi-hot"):
        task = user_task({"train": write(tmp_path / f"{form}.jsonl", 61, 2, form)})
        assert task.labels == ("0", "1", "2")
        assert load_split(task, "train")["label"][:] == expected
        given = {"validation": tmp_path / f"{form}.jsonl", "label_names": NAMES}
        assert (
            factcli.evaluate(str(place / "trained"), **given)[0]["metrics"]
            == (json.loads((place / "result.json").read_text())["metrics"])
        )


def test_labels_are_matched_by_name(place: Path, tmp_path: Path) -> None:
    """A model with its outputs in another order, or without names, measures and trains the same."""
    model = BertForSequenceClassification.from_pretrained(place / "trained")
    right = json.loads((place / "result.json").read_text())["metrics"]
    files = {"train": place / "train.jsonl", "validation": place / "val.jsonl"}
    order = [2, 0, 1]
    for folder, names in (("unnamed", ["LABEL_0", "LABEL_1", "LABEL_2"]), ("named", [NAMES[i].upper() for i in order])):
        if folder == "named":
            with torch.no_grad():
                for p in (model.classifier.weight, model.classifier.bias):
                    p.copy_(p[order])
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {n: i for i, n in enumerate(names)}
        model.save_pretrained(tmp_path / folder)
        AutoTokenizer.from_pretrained(place / "trained").save_pretrained(tmp_path / folder)
        assert factcli.evaluate(str(tmp_path / folder), validation=files["validation"])[0]["metrics"] == right
    tuned = factcli.finetune(
        str(tmp_path / "named"), tmp_path / "out", **files, max_steps=1, learning_rate=1e-9, save_steps=0, device="cpu"
    )
    assert tuned["metrics"] == right


def test_taught_factorized_and_calibrated(place: Path, tmp_path: Path) -> None:
    """With a teacher, mixed ranks and statistics of its own labels; what comes out is measured the same again."""
    result = factcli.finetune(
        str(place / "trained"), tmp_path / "small", train=place / "train.jsonl", validation=place / "val.jsonl",
        teacher=str(place / "trained"), keep=0.6, criterion="fisher-rows", schedule="mixed-rank", max_steps=6,
        batch_size=8, learning_rate=1e-4, save_steps=0, device="cpu",
    )  # fmt: skip
    assert factcli.evaluate(str(tmp_path / "small"), validation=place / "val.jsonl")[0]["metrics"] == result["metrics"]
    made = factcli.convert(
        str(place / "trained"), tmp_path / "made", keep=0.6, criterion="fisher-rows", fisher="empirical",
        calibration=str(place / "train.jsonl"),
    )  # fmt: skip
    assert made["calibration"]["examples"] == 192


@pytest.mark.parametrize("row", [[1, 0], [1, 0, 2], [1, 0, 1, 1]])
def test_flags_that_are_not_those_of_the_training(row: list[int], place: Path, tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", 30, 1, "multi-hot")
    lines = [json.dumps({"text": "w1", "label": flags}) for flags in ([0, 1, 0], row)]
    (tmp_path / "val.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        FactcliError, match=r"Row 2 of .*val.jsonl has \[1, 0.* not a 0 or 1 for each of 3 labels \(0, 1, 2\)"
    ):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", train=train, validation=tmp_path / "val.jsonl", max_steps=1
        )
    assert not (tmp_path / "out").exists()


def test_losses() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    p, q = (teacher / 2).sigmoid(), (student / 2).sigmoid()
    expected = -4 * (p * q.log() + (1 - p) * (1 - q).log()).mean()
    torch.testing.assert_close(logit_loss(student, teacher, 2.0, False, True), expected)
    p, q = (torch.stack([x.sigmoid(), (-x).sigmoid()]) for x in (teacher, student))
    both = ((p * (p / q).log()).sum(0) + (q * (q / p).log()).sum(0)).mean() / 2
    torch.testing.assert_close(consistency_loss(student, teacher, False, True), both)
    logits = student.clone().requires_grad_()
    labels = (teacher > 0).float()
    batch = {"attention_mask": torch.ones(5, 2)}
    pseudo_loss(Purpose("labels"), type("Output", (), {"logits": logits}), batch, None, labels, []).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() - labels)


def test_what_a_run_must_beat() -> None:
    task = Task("t", ("text",), ("a", "b"), ("micro_f1", "macro_f1", "subset_accuracy"), problem_type=MULTI)
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    always = np.array([[1, 0]] * 4)
    assert majority_score(task, labels) == pytest.approx(6 / 8)
    assert is_failed(task, compute_metrics(task, labels, always), majority_score(task, labels))
    assert not is_failed(task, compute_metrics(task, labels, labels), majority_score(task, labels))
    assert majority_score(task, labels, 1 - labels) == pytest.approx(2 / 8)  # b, as in what was trained on
    assert compute_metrics(task, labels, labels)["subset_accuracy"] == 1.0


def test_an_unnamed_order() -> None:
    task = Task("t", ("text",), ("a", "b", "c"), problem_type=MULTI)
    draw = np.random.default_rng(0)
    labels = (draw.random((400, 3)) < [0.2, 0.5, 0.7]).astype(int)
    right = np.where(draw.random((400, 3)) < 0.9, labels, 1 - labels)
    check_unnamed_order(task, labels, right, "m")
    check_unnamed_order(task, labels, np.zeros_like(labels), "m")
    check_unnamed_order(task, labels, (draw.random((400, 3)) < 0.5).astype(int), "m")
    with pytest.raises(FactcliError, match="--label-names b,c,a"):
        check_unnamed_order(task, labels, right[:, [1, 2, 0]], "m")


def test_what_does_not_go_together(place: Path, tmp_path: Path) -> None:
    files: dict[str, Any] = {"train": place / "train.jsonl", "validation": place / "val.jsonl"}
    single = write_csv(tmp_path / "single.csv", [("w1 good", "happy"), ("w1 bad", "angry"), ("w2", "denial")])
    with pytest.raises(FactcliError, match=r"answers with any number of labels .* but single has one label"):
        factcli.evaluate(str(place / "trained"), validation=single)
    with pytest.raises(FactcliError, match=r"answers with any number of labels .* --new-head"):
        factcli.finetune(str(place / "trained"), tmp_path / "out", train=single, validation=single, max_steps=1)
    with pytest.raises(FactcliError, match="has one label a row in column 'label', unlike"):
        factcli.finetune(str(place / "base"), tmp_path / "out", train=files["train"], validation=single, max_steps=1)
    with pytest.raises(UsageError, match="any number of labels, which is not answered in words"):
        factcli.finetune(
            str(save_model(tmp_path / "t5", "t5", "T5ForConditionalGeneration")), tmp_path / "out", **files,
            text_to_text=True, max_steps=1,
        )  # fmt: skip
    one = save_model(
        tmp_path / "one", "bert", "BertForSequenceClassification", problem_type=SINGLE,
        id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)},
    )  # fmt: skip
    with pytest.raises(FactcliError, match=r"answers with one label .* but val has any number of labels"):
        factcli.evaluate(str(one), validation=files["validation"])
    with pytest.raises(FactcliError, match=r"The teacher .* answers with one label"):
        factcli.finetune(str(place / "trained"), tmp_path / "out", **files, teacher=str(one), max_steps=1)
    with pytest.raises(FactcliError, match="take --fisher sampled"):
        factcli.convert(str(one), tmp_path / "out", keep=0.5, criterion="fisher-rows", fisher="empirical",
                        calibration=str(files["train"]))  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([["a"], "b"], "Row 2 of .* where others have a list"),
        ([["a"], None, ["b"]], "Row 2 of .* has no label"),
        ([["a"], ["b", None]], "Row 2 of .* has no label"),
        ([["a"], ["b", "A"]], "Row 2 of .* has the label 'A', row 1 has 'a'"),
        ([["a"], []], "one class only"),
        ([[], []], "No row of .* has a label"),
        ([[["a"]], ["b"]], "Row 1 of .* has an object"),
        ([[0, 1, -1], [1]], "Row 1 of .* has the label -1, no label"),
        ([["a", "b"], ["a", "b"]], "have the same labels in every row"),
    ],
)
def test_lists_that_are_no_labels(labels: list[Any], said: str, place: Path, tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text("\n".join(json.dumps({"text": "t", "label": x}) for x in labels))
    with pytest.raises(FactcliError, match=said):
        factcli.finetune(str(place / "base"), tmp_path / "out", train=file, validation=file, max_steps=1)
