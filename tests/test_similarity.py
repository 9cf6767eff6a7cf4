"""evaluate of embedding models on pairs: as sentence-transformers and scikit-learn have it, and what is refused."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard
from scipy import stats
from sklearn import metrics as sk
from transformers import AutoModel, AutoTokenizer

import factcli
from factcli.cli.scores import evaluated
from factcli.data.tasks import GLUE
from factcli.scores.embedding import Embedder
from factcli.scores.results import accuracies
from factcli.scores.similarity import Similarity, _accuracy

from .test_options import notes as notes
from .test_purpose import save_embedder
from .training_helpers import WORDS, save_model, write_csv

st = pytest.importorskip("sentence_transformers")
PAIR = ("sentence1", "sentence2", "label")
HEAD = "BertForSequenceClassification"


def pairs(count: int, seed: int, longest: int = 14) -> list[tuple[str, str, float]]:
    """Two texts, never the same, and the share of the first one's words that the second has."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        first = draw.choices(WORDS, k=draw.randint(2, longest))
        share = draw.choice((0.0, 0.25, 0.5, 0.75, 1.0))
        second = [word if draw.random() < share else draw.choice(WORDS) for word in first]
        made.append((" ".join(first), " ".join([draw.choice(WORDS), *second]), share))
    return made


def write_task(folder: Path, task: str, rows: list[tuple[str, str, Any]], names: tuple[str, str] = PAIR[:2]) -> Path:
    (folder / task).mkdir(parents=True)
    first, second, labels = zip(*rows, strict=True)
    table = pa.table({names[0]: first, names[1]: second, "label": labels})
    pq.write_table(table, folder / task / "validation.parquet")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedding model, a factorized one, and tasks in GLUE's files."""
    folder = tmp_path_factory.mktemp("similarity")
    save_embedder(folder / "dense")
    factcli.convert(str(folder / "dense"), folder / "small", keep=0.8)
    write_task(folder / "glue", "stsb", pairs(80, 1))
    for task, names in {"mrpc": PAIR[:2], "rte": PAIR[:2], "qqp": ("question1", "question2")}.items():
        write_task(folder / "glue", task, [(a, b, int(share > 0.4)) for a, b, share in pairs(80, 2)], names)
    write_task(folder / "glue", "mnli", [(a, b, i % 3) for i, (a, b, _) in enumerate(pairs(9, 3))],
               ("premise", "hypothesis"))  # fmt: skip
    (folder / "glue" / "mnli" / "validation.parquet").rename(folder / "glue" / "mnli" / "validation_matched.parquet")
    return folder


def cosines(folder: Path, rows: list[tuple[str, str, Any]]) -> Any:
    """By sentence-transformers."""
    model = st.SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    a, b = (model.encode([row[i] for row in rows], convert_to_tensor=True) for i in (0, 1))
    return model.similarity_pairwise(a, b).numpy()


@pytest.mark.parametrize("name", ["dense", "small"])
def test_numbers_beside_sentence_transformers(name: str, place: Path) -> None:
    result = factcli.evaluate(str(place / name), task="stsb", data_dir=place / "glue", batch_size=7)[0]
    rows = pairs(80, 1)
    assert max(len(a.split()) for a, _, _ in rows) > 10 - 2  # so that the length at which it cuts matters
    found, grades = cosines(place / name, rows), [share for _, _, share in rows]
    assert list(result["metrics"]) == ["spearman", "pearson"]
    assert result["metrics"]["spearman"] == pytest.approx(stats.spearmanr(found, grades).statistic, abs=1e-3)
    assert result["metrics"]["pearson"] == pytest.approx(stats.pearsonr(found, grades).statistic, abs=1e-5)
    assert (result["majority"], result["failed_run"], result["examples"]) == (None, False, 80)
    longer = factcli.evaluate(str(place / name), task="stsb", data_dir=place / "glue", max_length=40)[0]
    assert longer["metrics"] != result["metrics"]


@pytest.mark.parametrize("task", ["mrpc", "qqp", "rte"])
def test_two_classes_beside_scikit_learn(task: str, place: Path) -> None:
    """In RTE the first class, entailment, is that of pairs that are alike."""
    result = factcli.evaluate(str(place / "small"), task=task, data_dir=place / "glue")[0]
    rows = pairs(80, 2)
    found, labels = cosines(place / "small", rows), np.array([int(share > 0.4) for _, _, share in rows])
    alike = labels == (0 if task == "rte" else 1)
    assert list(result["metrics"]) == ["average_precision", "accuracy"]
    assert result["metrics"]["average_precision"] == pytest.approx(sk.average_precision_score(alike, found), abs=1e-6)
    best = max(float(np.mean((found >= t) == alike)) for t in (*found, 2))
    assert result["metrics"]["accuracy"] == pytest.approx(best)
    assert result["majority"] == pytest.approx(max(np.mean(labels), 1 - np.mean(labels)))
    assert result["failed_run"] is bool(sk.average_precision_score(alike, found) <= np.mean(alike))


def test_the_best_threshold_has_equal_similarities_on_one_side() -> None:
    alike = np.array([True, False, True, False, False])
    assert _accuracy(alike, np.zeros(5)) == 0.6
    assert _accuracy(alike, np.array([0.9, 0.9, 0.9, 0.1, 0.1])) == 0.8
    assert _accuracy(~alike, np.array([0.1, 0.9, 0.1, 0.9, 0.9])) == 1.0


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_files_of_runtimes_give_the_same(backend: str, place: Path, tmp_path: Path) -> None:
    for package in ("onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    shutil.copytree(place / "small", tmp_path / "small")
    factcli.export(str(tmp_path / "small"), format=backend)
    options: dict[str, Any] = {"task": "stsb", "data_dir": place / "glue"}
    ours = factcli.evaluate(str(tmp_path / "small"), **options)[0]["metrics"]
    theirs = factcli.evaluate(str(tmp_path / "small"), backend=backend, **options)[0]
    assert theirs["metrics"] == pytest.approx(ours, abs=1e-3)
    assert theirs["runs"].startswith(backend)


def test_a_file_without_hidden_states(place: Path, tmp_path: Path) -> None:
    """That of a model which fills in words, and is used for its vectors, gives scores of words."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model = shutil.copytree(place / "dense", tmp_path / "m", ignore=shutil.ignore_patterns("eval_results.json"))
    save_model(tmp_path / "masked", "bert", "BertForMaskedLM")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tmp_path / "masked" / name, model / name)
    factcli.export(str(model), format="onnx")
    options: dict[str, Any] = {"task": "stsb", "data_dir": place / "glue"}
    said = "gives logits and no last_hidden_state, of which vectors are made: take --backend torch"
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.evaluate(str(model), backend="onnx", **options)
    assert not (model / "eval_results.json").exists()
    assert factcli.evaluate(str(model), **options)[0]["examples"] == 80


@pytest.mark.parametrize("similarity", ["dot", "euclidean", "manhattan"])
def test_the_similarity_and_the_prompt_that_a_model_names(
    similarity: str, place: Path, tmp_path: Path, notes: list[str]
) -> None:
    said = {"similarity_fn_name": similarity, "prompts": {"sts": "w3 w4 w5 "}, "default_prompt_name": "sts"}
    shutil.copytree(place / "dense", tmp_path / "m")
    (tmp_path / "m" / "config_sentence_transformers.json").write_text(json.dumps(said))
    rows = pairs(60, 4)
    file = write_csv(tmp_path / "pairs.csv", [(a, b, str(share)) for a, b, share in rows], PAIR)
    result = factcli.evaluate(str(tmp_path / "m"), validation=file)[0]
    grades = [share for _, _, share in rows]
    assert result["metrics"]["pearson"] == pytest.approx(
        stats.pearsonr(cosines(tmp_path / "m", rows), grades).statistic, abs=1e-5
    )
    assert any("reads each text behind the prompt that it names, 'w3 w4 w5 '" in n for n in notes)
    assert any("is measured as its files say: --max-length 10" in n for n in notes)


def test_a_prompt_that_is_not_pooled(place: Path, tmp_path: Path) -> None:
    save_embedder(tmp_path / "m", include_prompt=False)
    said = {"prompts": {"sts": "w3 w4 w5 "}, "default_prompt_name": "sts"}
    (tmp_path / "m" / "config_sentence_transformers.json").write_text(json.dumps(said))
    result = factcli.evaluate(str(tmp_path / "m"), task="stsb", data_dir=place / "glue")[0]
    rows = pairs(80, 1)
    expected = stats.pearsonr(cosines(tmp_path / "m", rows), [share for _, _, share in rows]).statistic
    assert result["metrics"]["pearson"] == pytest.approx(expected, abs=1e-5)


def test_small_letters_where_a_model_wants_them(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "dense", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "sentence_bert_config.json").read_text())
    (tmp_path / "m" / "sentence_bert_config.json").write_text(json.dumps(config | {"do_lower_case": True}))
    rows = [(a.upper(), b, share) for a, b, share in pairs(40, 6)]
    file = write_csv(tmp_path / "pairs.csv", [(a, b, str(share)) for a, b, share in rows], PAIR)
    found, other = (factcli.evaluate(str(m), validation=file)[0] for m in (tmp_path / "m", place / "dense"))
    expected = stats.pearsonr(cosines(tmp_path / "m", rows), [share for *_, share in rows]).statistic
    assert found["metrics"]["pearson"] == pytest.approx(expected, abs=1e-5)
    assert found["metrics"] != other["metrics"]


def test_a_base_model_by_the_mean_of_its_tokens(place: Path, tmp_path: Path, notes: list[str]) -> None:
    save_model(tmp_path / "base")
    result = factcli.evaluate(str(tmp_path / "base"), task="stsb", data_dir=place / "glue")[0]
    model, tokenizer = (
        AutoModel.from_pretrained(tmp_path / "base").eval(),
        AutoTokenizer.from_pretrained(tmp_path / "base"),
    )
    found = []
    with torch.no_grad():
        for row in pairs(80, 1):
            a, b = (model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0) for t in row[:2])
            found.append(float(torch.cosine_similarity(a, b, dim=0)))
    expected = stats.pearsonr(found, [share for _, _, share in pairs(80, 1)]).statistic
    assert result["metrics"]["pearson"] == pytest.approx(expected, abs=1e-5)
    assert any("does not say how it makes a vector of a text: the mean over its tokens is taken" in n for n in notes)


def test_labels_of_a_file(place: Path, tmp_path: Path, notes: list[str]) -> None:
    """0 and 1, names, grades in whole numbers."""
    rows = pairs(40, 5)
    kinds: dict[str, list[Any]] = {
        "ids": [int(s > 0.4) for *_, s in rows], "names": ["different" if s < 0.4 else "alike" for *_, s in rows],
        "grades": [int(4 * s) for *_, s in rows], "one": [1 for _ in rows], "three": ["abc"[i % 3] for i in range(40)],
    }  # fmt: skip
    files = {
        name: write_csv(
            tmp_path / f"{name}.csv", [(a, b, str(x)) for (a, b, _), x in zip(rows, labels, strict=True)], PAIR
        )
        for name, labels in kinds.items()
    }
    model = str(place / "dense")
    ids = factcli.evaluate(model, validation=files["ids"])[0]["metrics"]
    assert not any("--label-names" in n for n in notes)
    other = factcli.evaluate(model, validation=files["names"])[0]["metrics"]  # in the order of the alphabet
    assert any("'different' is taken for pairs that are alike, 'alike' for others: --label-names" in n for n in notes)
    assert other != ids
    assert factcli.evaluate(model, validation=files["names"], label_names=["different", "alike"])[0]["metrics"] == ids
    found = factcli.evaluate(model, validation=files["grades"])[0]["metrics"]
    grades = stats.pearsonr(cosines(place / "dense", rows), kinds["grades"]).statistic
    assert found["pearson"] == pytest.approx(grades, abs=1e-5)
    for name, said in {"one": "1 classes", "three": "three has 3 classes a pair can have"}.items():
        with pytest.raises(factcli.FactcliError, match=said):
            factcli.evaluate(model, validation=files[name])


def test_a_model_that_says_nothing_is_a_failed_run(place: Path, tmp_path: Path) -> None:
    """Equal vectors for all texts."""
    shutil.copytree(place / "dense", tmp_path / "m")
    model = AutoModel.from_pretrained(tmp_path / "m")
    model.encoder.layer[-1].output.LayerNorm.weight.data.zero_()
    model.encoder.layer[-1].output.LayerNorm.bias.data.fill_(1.0)
    model.save_pretrained(tmp_path / "m")
    for task in ("stsb", "mrpc"):
        result = factcli.evaluate(str(tmp_path / "m"), task=task, data_dir=place / "glue")[0]
        assert result["failed_run"], result
    assert result["metrics"]["accuracy"] == result["majority"]


def test_what_is_no_number_is_least_similar() -> None:
    labels, outputs = np.array([1, 0, 1, 0]), np.array([0.9, -0.3, np.nan, -0.9])
    task = replace(GLUE["mrpc"], metrics=("average_precision", "accuracy"))
    found = Similarity(task, cast(Embedder, None), [], np.zeros((4, 2)), labels)
    assert found.metrics(outputs)["average_precision"] == (1 + 2 / 4) / 2
    every = found.metrics(np.full(4, np.nan))
    assert every == {"average_precision": 0.5, "accuracy": 0.5}
    assert found.failed(every)


def test_results_are_kept_and_go_into_the_card(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "small", tmp_path / "small", ignore=shutil.ignore_patterns("eval_results.json"))
    model = str(tmp_path / "small")
    for task in ("stsb", "mrpc"):
        results = factcli.evaluate(model, task=task, data_dir=place / "glue", update_card=True)
    kept = json.loads((tmp_path / "small" / "eval_results.json").read_text())
    assert [(e["task"], e["task_type"]) for e in kept] == [(t, "sentence-similarity") for t in ("stsb", "mrpc")]
    data = ModelCard.load(tmp_path / "small" / "README.md").data
    assert data.pipeline_tag == "sentence-similarity"
    found = {(r.task_type, r.dataset_type, r.dataset_name, r.metric_type) for r in data.eval_results or []}
    assert found == {
        ("sentence-similarity", "glue", task, metric)
        for task, metrics in {"stsb": ("spearman", "pearson"), "mrpc": ("average_precision", "accuracy")}.items()
        for metric in metrics
    }
    source = factcli.models.model.find_model(model, accept_factorized=True)
    assert accuracies(source, source.stored.files) == {"mrpc validation": results[0]["metrics"]["accuracy"]}
    names = {"id2label": {0: "not_equivalent", 1: "equivalent"}, "label2id": {"not_equivalent": 0, "equivalent": 1}}
    save_model(tmp_path / "head", "bert", HEAD, **names)  # two kinds of model in one table
    both = factcli.evaluate([model, str(tmp_path / "head")], task="mrpc", data_dir=place / "glue")
    assert list(both[1]["metrics"]) == ["accuracy", "f1"]
    evaluated(both)
    assert "average_precision" in capsys.readouterr().out


def test_refusals(place: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "glue", "cola", [("w1", "w2", 0), ("w3", "w4", 1)], ("sentence", "other"))
    alone = write_csv(tmp_path / "alone.csv", [("w1 w2", "1"), ("w3", "0")])
    lone = write_csv(tmp_path / "lone.csv", [("w1 w2", "w3", "0"), ("w3", "w4", "0")], PAIR)
    save_model(tmp_path / "t5", "t5")
    glue = {"data_dir": place / "glue"}
    for model, options, said in (
        ("dense", {"task": "cola", "data_dir": tmp_path / "glue"}, "embeds texts and has no trained head for cola"),
        ("dense", {"validation": alone}, "has no trained head for alone.*--retrieval DIR"),
        ("dense", {"validation": lone}, "has 1 classes"),
        ("dense", {"validation": lone, "label_names": ["0", "1"]}, "No pair of lone has the label '1'"),
        ("dense", {"task": "mnli"} | glue, "mnli has 3 classes"),
        ("dense", {"task": "stsb", "text_to_text": True} | glue, "does not answer in words"),
        ("dense", {"task": "mrpc", "label_names": ["a", "b"]} | glue, "label-names has no effect"),
        ("dense", {"task": "mrpc", "max_length": 99} | glue, "64 positions"),
        (tmp_path / "t5", {"task": "mrpc"} | glue, "no trained head for classification .T5Model"),
    ):  # fmt: skip
        with pytest.raises(factcli.FactcliError, match=said):
            factcli.evaluate(str(place / model), **options)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_files_are_held_to_the_similarities(format: str, place: Path, tmp_path: Path) -> None:
    """export measures a file as eval does; similarities that lose more than they may are not kept."""
    model = shutil.copytree(place / "small", tmp_path / "model")
    data: dict[str, Any] = {"task": "stsb", "data_dir": place / "glue"}
    exact = factcli.export(str(model), format=(format,), max_loss=0.01, **data)["checked"]
    assert exact["metric"] == pytest.approx(factcli.evaluate(str(model), **data)[0]["metrics"], abs=1e-4)
    assert exact["loss"] == pytest.approx(0, abs=0.01)
    assert exact["agreement"] == pytest.approx(1, abs=1e-4)
    again = factcli.evaluate(str(model), backend=format, **data)[0]["metrics"]
    assert exact["metric"] == pytest.approx(again, abs=1e-9)
