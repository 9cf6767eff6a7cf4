"""Rerankers in training: one output, of which labels of 0 and 1 are probabilities, and other numbers are numbers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import factcli

from .training_helpers import FAST, save_model, write_csv

COLUMNS = ("query", "passage")
SIGMOID, IDENTITY = (f"torch.nn.modules.{name}" for name in ("activation.Sigmoid", "linear.Identity"))


def candidates(labels: list[str], queries: int = 8) -> list[tuple[str, ...]]:
    """A query has every label; a good candidate says so."""
    words = ["bad", "w1", "good"]
    return [
        (f"w{q}", f"w{q} w{q + 9} {words[round(2 * i / (len(labels) - 1))]}", label)
        for q in range(queries) for i, label in enumerate(labels)
    ]  # fmt: skip


def reranker(folder: Path, activation: str | None = None, **changes: Any) -> Path:
    save_model(folder, "bert", "BertForSequenceClassification", num_labels=1, **changes)
    config = json.loads((folder / "config.json").read_text())
    if activation:
        config["sentence_transformers"] = {"activation_fn": activation, "version": "5.0.0"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("activation", "changes", "labels", "probability"),
    [
        (None, {}, ["0", "1"], True),
        (SIGMOID, {}, ["0", "0.5", "1"], True),
        (None, {}, ["0", "0.5", "1"], False),
        (IDENTITY, {}, ["0", "1"], False),
        (None, {"problem_type": "regression"}, ["0", "1"], False),
        (SIGMOID, {}, ["0", "1", "3"], False),
    ],
)
def test_the_loss_is_that_of_its_output(
    activation: str | None, changes: dict[str, Any], labels: list[str], probability: bool, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The first loss, by hand from the model as it was."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = reranker(tmp_path / "model", activation, **changes, **still)
    rows = candidates(labels, 5)
    file = write_csv(tmp_path / "rows.csv", rows, (*COLUMNS, "label"))
    factcli.finetune(
        str(model), tmp_path / "out", train=file, validation=file, text_column=COLUMNS, max_steps=1,
        **FAST | {"batch_size": len(rows)},
    )  # fmt: skip
    dense, tokenizer = AutoModelForSequenceClassification.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    with torch.no_grad():
        scores = [float(dense.eval()(**tokenizer(q, p, return_tensors="pt")).logits) for q, p, _ in rows]
    wanted = [float(label) for _, _, label in rows]
    if probability:
        each = [
            math.log1p(math.exp(-s)) * y + math.log1p(math.exp(s)) * (1 - y)
            for s, y in zip(scores, wanted, strict=True)
        ]
    else:
        each = [(s - y) ** 2 for s, y in zip(scores, wanted, strict=True)]
    results = json.loads((tmp_path / "out" / "finetune_results.json").read_text())
    assert results["losses"][0][1] == pytest.approx(sum(each) / len(each), rel=1e-4)
    problem = json.loads((tmp_path / "out" / "config.json").read_text()).get("problem_type")
    assert problem == (None if probability else "regression")
    assert ("the labels of rows are learnt by cross-entropy" in caplog.text) == probability


def test_trained_and_made_smaller_it_ranks(tmp_path: Path) -> None:
    model = reranker(tmp_path / "model")
    train, held = (write_csv(tmp_path / f"{n}.csv", candidates(["0", "1"], n), (*COLUMNS, "label")) for n in (40, 12))
    result = factcli.finetune(
        str(model), tmp_path / "out", train=train, validation=held, text_column=COLUMNS, keep=0.5, max_steps=60, **FAST
    )
    assert not result["failed_run"]
    ranked = factcli.evaluate(str(tmp_path / "out"), validation=held)[0]["metrics"]
    assert ranked["ndcg@10"] == ranked["mrr@10"] == 1


def test_a_new_head_has_as_many_outputs_as_there_are_labels(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "rows.csv", candidates(["0", "1"]), (*COLUMNS, "label"))
    factcli.finetune(
        str(reranker(tmp_path / "model")), tmp_path / "out", train=file, validation=file, text_column=COLUMNS,
        new_head=True, max_steps=1, **FAST,
    )  # fmt: skip
    assert len(json.loads((tmp_path / "out" / "config.json").read_text())["id2label"]) == 2
