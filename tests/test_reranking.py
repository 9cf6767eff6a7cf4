"""evaluate of rerankers: rankings by query, beside plain formulas and the CrossEncoder of sentence-transformers."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

import factcli

from .test_options import notes as notes
from .training_helpers import WORDS, save_model, write_csv

st = pytest.importorskip("sentence_transformers")
HEAD = "BertForSequenceClassification"
PAIR = ("text", "text_pair", "label")
Rows = list[tuple[str, str, float]]


def candidates(queries: int, each: int, seed: int, grades: tuple[float, ...] = (0, 1)) -> Rows:
    """Rows in any order; the first query has nothing that fits."""
    draw = random.Random(seed)
    made: Rows = []
    for number in range(queries):
        query = " ".join([f"w{number}", *draw.choices(WORDS, k=4)])
        labels = [draw.choice(grades) if number else 0 for _ in range(each)]
        labels[0] = grades[-1] if number else 0
        made += [(query, " ".join(draw.choices(WORDS, k=draw.randint(2, 9))), label) for label in labels]
    draw.shuffle(made)
    return made


def write(file: Path, rows: Rows) -> Path:
    return write_csv(file, [(a, b, str(label)) for a, b, label in rows], PAIR)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factorized one."""
    folder = tmp_path_factory.mktemp("reranker")
    save_model(folder / "dense", "bert", HEAD, num_labels=1, initializer_range=0.5)
    factcli.convert(str(folder / "dense"), folder / "small", keep=0.8)
    return folder / "small"


def expected(rows: Rows, scores: list[float]) -> dict[str, float]:
    """From the definitions, one query at a time."""
    by_query: dict[str, list[tuple[float, float]]] = {}
    for (query, _, label), score in zip(rows, scores, strict=True):
        by_query.setdefault(query, []).append((score, label))
    precisions, gains, firsts = [], [], []
    for found in by_query.values():
        if max(label for _, label in found) <= 0:
            continue
        labels = [label for _, label in sorted(found, reverse=True)]
        hits = [i + 1 for i, label in enumerate(labels) if label > 0]
        precisions.append(sum((k + 1) / rank for k, rank in enumerate(hits)) / len(hits))
        best = sorted(labels, reverse=True)
        dcg, ideal = (sum(v / math.log2(i + 2) for i, v in enumerate(order[:10])) for order in (labels, best))
        gains.append(dcg / ideal)
        firsts.append(1 / hits[0] if hits[0] <= 10 else 0)
    return {
        name: sum(values) / len(values)
        for name, values in {"average_precision": precisions, "ndcg@10": gains, "mrr@10": firsts}.items()
    }


@pytest.mark.parametrize("grades", [(0, 1), (0, 0.5, 1, 3)])
def test_rankings_beside_plain_formulas_and_cross_encoder(
    grades: tuple[float, ...], reranker: Path, tmp_path: Path, notes: list[str]
) -> None:
    rows = candidates(12, 15, 1, grades)
    encoder = st.CrossEncoder(str(reranker), device="cpu", trust_remote_code=True)
    scores = encoder.predict([(a, b) for a, b, _ in rows]).tolist()
    result = factcli.evaluate(str(reranker), validation=write(tmp_path / "rows.csv", rows), batch_size=5)[0]
    assert list(result["metrics"]) == ["average_precision", "ndcg@10", "mrr@10"]
    assert result["metrics"] == pytest.approx(expected(rows, scores), abs=1e-6)
    assert result["examples"] == 180
    assert any(
        "each of 12 queries of rows are ranked, by their first text; 1 without a label above 0" in n for n in notes
    )


def test_long_candidates_are_cut_where_cross_encoder_cuts_them(tmp_path: Path, notes: list[str]) -> None:
    save_model(tmp_path / "m", "bert", HEAD, num_labels=1, initializer_range=0.5, max_position_embeddings=256)
    draw = random.Random(5)
    rows = [(a, " ".join(draw.choices(WORDS, k=draw.choice((200, 400)))), label) for a, _, label in candidates(6, 6, 5)]
    encoder = st.CrossEncoder(str(tmp_path / "m"), device="cpu")
    scores = encoder.predict([(a, b) for a, b, _ in rows]).tolist()
    file = write(tmp_path / "rows.csv", rows)
    found = factcli.evaluate(str(tmp_path / "m"), validation=file)[0]["metrics"]
    assert found == pytest.approx(expected(rows, scores), abs=1e-6)
    assert any("is measured as its files say: --max-length 256" in n for n in notes)
    assert factcli.evaluate(str(tmp_path / "m"), validation=file, max_length=128)[0]["metrics"] != found


def test_the_scores_of_cross_encoder_are_those_that_are_ranked(reranker: Path, tmp_path: Path) -> None:
    """Score by score, by the correlation that eval gives with them as labels."""
    rows = [(f"w{i} w2", " ".join(WORDS[i : i + 5]), 0.0) for i in range(30)]
    encoder = st.CrossEncoder(str(reranker), device="cpu", trust_remote_code=True, activation_fn=torch.nn.Identity())
    scores = encoder.predict([(a, b) for a, b, _ in rows]).tolist()
    file = write(tmp_path / "own.csv", [(a, b, s) for (a, b, _), s in zip(rows, scores, strict=True)])
    assert factcli.evaluate(str(reranker), validation=file)[0]["metrics"]["pearson"] == pytest.approx(1, abs=1e-9)


def test_a_few_first_texts_that_occur_again_make_no_ranking(reranker: Path, tmp_path: Path) -> None:
    rows = [(f"w{max(i, 5)}", " ".join(WORDS[i : i + 4]), i / 40) for i in range(40)]
    result = factcli.evaluate(str(reranker), validation=write(tmp_path / "sts.csv", rows))[0]
    assert list(result["metrics"]) == ["pearson", "spearman"]


def test_a_model_that_tells_nothing_apart_gains_nothing(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    save_model(tmp_path / "m", "bert", HEAD, num_labels=1)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    model.classifier.weight.data.zero_()
    model.save_pretrained(tmp_path / "m")
    rows = sorted(candidates(6, 8, 3), key=lambda row: -row[2])  # what fits stands first
    result = factcli.evaluate(str(tmp_path / "m"), validation=write(tmp_path / "rows.csv", rows))[0]
    assert result["failed_run"]
    assert result["metrics"] == pytest.approx(expected(rows, [-label for *_, label in rows]))


def test_results_are_kept_and_go_into_the_card(reranker: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", candidates(5, 6, 2))
    result = factcli.evaluate(str(reranker), validation=file, update_card=True)[0]
    kept = json.loads((reranker / "eval_results.json").read_text())[-1]
    assert (kept["metrics"], kept["task_type"]) == (result["metrics"], "text-ranking")
    data = ModelCard.load(reranker / "README.md").data
    assert data.pipeline_tag == "text-ranking"
    assert {r.task_type for r in data.eval_results or [] if r.dataset_name == "rows"} == {"text-ranking"}


def test_refusals(reranker: Path, tmp_path: Path) -> None:
    none = write(tmp_path / "none.csv", [(a, b, 0) for a, b, _ in candidates(3, 4, 4)])
    calls: list[tuple[dict[str, Any], str]] = [
        ({"validation": none}, "No pair of none has a label above 0"),
        ({"retrieval": tmp_path}, "is a reranker, which needs candidates: give them as pairs, --validation FILE"),
    ]
    for options, said in calls:
        with pytest.raises(factcli.FactcliError, match=said):
            factcli.evaluate(str(reranker), **options)
