"""A tagger, trained, factorized, saved, reloaded by strangers, and measured as torch and as files run it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForTokenClassification, AutoTokenizer

import factcli
from factcli.card.text import split_card

from ..conftest import Run
from ..fresh import __file__ as _fresh
from ..processes import Python
from ..runtimes.closeness import IN_BFLOAT16
from ..training_helpers import same, train_and_be_killed
from . import data
from .data import TAGS, files, read, save
from .spans import scores, spans_of

STRANGER = Path(_fresh).parent / "tagging.py"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a base model, a dense tagger and a factorized one."""
    folder = save(tmp_path_factory.mktemp("tagging"))
    dense = factcli.finetune(str(folder / "base"), folder / "dense", **files(folder, epochs=5))
    small = factcli.finetune(
        str(folder / "base"), folder / "small", keep=0.6, schedule="staged", stage_steps=4, **files(folder, epochs=5)
    )
    (folder / "results.json").write_text(json.dumps({"dense": dense, "small": small}))
    return folder


def result(place: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "results.json").read_text())[name]
    return found


@pytest.mark.parametrize("name", ["dense", "small"])
def test_trained_reloaded_and_measured(name: str, place: Path, stranger: Run) -> None:
    """The numbers of training, of eval, and of plain transformers in a process without factcli are one."""
    trained = result(place, name)
    rows = read(place / "val.jsonl")
    assert trained["metrics"]["f1"] > 0.3
    assert not trained["failed_run"]
    flat = [tag for _, tags in rows for tag in tags]
    assert trained["majority"] == pytest.approx(flat.count("O") / len(flat))
    done = stranger(str(STRANGER), str(place / name), str(place / "val.jsonl"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["class"] == {"dense": "", "small": "Factorized"}[name] + "BertForTokenClassification"
    assert trained["metrics"] == pytest.approx(scores([tags for _, tags in rows], found["tags"]))
    words, starts = rows[0][0], [0]
    for word in words:
        starts.append(starts[-1] + len(word) + 1)
    expected = [[kind, starts[a], starts[b + 1] - 1] for _, a, b, kind in sorted(spans_of(found["tags"][:1]))]
    assert found["pipeline"] == expected
    for size in (1, 7):
        again = factcli.evaluate(str(place / name), validation=place / "val.jsonl", batch_size=size)[0]
        assert {k: again[k] for k in ("metrics", "majority", "failed_run", "examples")} == {
            "metrics": trained["metrics"], "majority": trained["majority"], "failed_run": False, "examples": len(rows)
        }  # fmt: skip
    config = json.loads((place / name / "config.json").read_text())
    assert list(config["id2label"].values()) == TAGS
    assert "problem_type" not in config


def test_card_and_memory(place: Path) -> None:
    metadata, text = split_card((place / "small" / "README.md").read_text())
    assert metadata["pipeline_tag"] == "token-classification"
    (entry,) = metadata["model-index"]
    (measured,) = entry["results"]
    assert measured["task"]["type"] == "token-classification"
    assert [m["type"] for m in measured["metrics"]] == ["f1", "precision", "recall", "accuracy"]
    assert "AutoModelForTokenClassification" in text
    remembered = yaml.safe_load((place / "small" / "factcli_recipe.yaml").read_text())["trained_on"]
    assert (remembered["text_column"], remembered["label_column"]) == (["tokens"], "ner_tags")
    assert remembered["labels"] == TAGS


def test_results_in_a_card_of_another(place: Path, tmp_path: Path) -> None:
    """eval --update-card of a tagger that is no export."""
    model = AutoModelForTokenClassification.from_pretrained(place / "dense")
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(place / "dense").save_pretrained(tmp_path)
    found = factcli.evaluate(
        str(tmp_path), validation=place / "val.jsonl", label_column="ner_tags", limit=7, update_card=True
    )
    assert found[0]["examples"] == 7
    whole = factcli.evaluate(str(tmp_path), validation=place / "val.jsonl", label_column="ner_tags", update_card=True)
    assert whole[0]["metrics"] == result(place, "dense")["metrics"]
    metadata, _ = split_card((tmp_path / "README.md").read_text())
    assert metadata["model-index"][0]["results"][0]["task"]["type"] == "token-classification"


def test_other_backends_give_the_same(place: Path) -> None:
    made = factcli.export(
        str(place / "small"), format=("onnx", "openvino"), validation=place / "val.jsonl", max_loss=0.0, overwrite=True
    )
    expected = result(place, "small")["metrics"]
    assert made["checked"]["agreement"] >= (0.98 if IN_BFLOAT16 else 1.0)
    assert made["checked"]["metric"] == pytest.approx(expected, abs=0.02 if IN_BFLOAT16 else 0)
    for backend in ("onnx", "openvino"):
        (found,) = factcli.evaluate(str(place / "small"), validation=place / "val.jsonl", backend=backend)
        rounds = backend == "openvino" and IN_BFLOAT16
        assert found["metrics"] == pytest.approx(expected, abs=0.02 if rounds else 0)
    factcli.evaluate([str(place / "small"), str(place / "dense")], validation=place / "val.jsonl")
    timed: dict[str, Any] = {"sequence_length": (16,), "runs": 1, "plot": place / "costs.png"}
    plain = factcli.bench(str(place / "small"), baseline=str(place / "dense"), **timed)
    assert plain["notes"] == []
    apart = factcli.bench(str(place / "small"), backend=("torch", "onnx"), **timed | {"plot": place / "apart.png"})
    assert apart["notes"] == []
    for r in (*plain["results"], *apart["results"]):
        assert r["accuracy"]["val validation"] == result(place, Path(r["model"]).name)["metrics"]["accuracy"]
    assert (place / "costs.png").stat().st_size > 5000
    assert (place / "apart.svg").is_file()


def test_bench_of_what_has_no_accuracy(place: Path, tmp_path: Path) -> None:
    """An entry of others that has another score alone."""
    model = AutoModelForTokenClassification.from_pretrained(place / "dense")
    model.save_pretrained(tmp_path)
    entry = {"task": "t", "split": "validation", "metrics": {"f1": 0.5}}
    (tmp_path / "eval_results.json").write_text(json.dumps([entry]))
    found = factcli.bench(str(tmp_path), sequence_length=(16,), runs=1, plot=tmp_path / "p.png")
    assert found["results"][0]["accuracy"] == {}
    assert "has no accuracy" in found["notes"][0]


@pytest.mark.parametrize("cached", [False, True])
def test_a_teacher(cached: bool, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger with its tags in another order teaches; alone, without labels, too."""
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    order = [4, 2, 0, 1, 3]
    model = AutoModelForTokenClassification.from_pretrained(place / "dense")
    with torch.no_grad():
        for p in (model.classifier.weight, model.classifier.bias):
            p.copy_(p[order].clone())
    model.config.id2label = {i: TAGS[j].lower() for i, j in enumerate(order)}
    model.config.label2id = {n: i for i, n in model.config.id2label.items()}
    model.save_pretrained(tmp_path / "teacher")
    AutoTokenizer.from_pretrained(place / "dense").save_pretrained(tmp_path / "teacher")
    taught = factcli.finetune(
        str(place / "base"), tmp_path / "out", teacher=str(tmp_path / "teacher"), label_weight=0.0,
        teacher_cache=cached, **files(place, epochs=6),
    )  # fmt: skip
    assert taught["metrics"]["f1"] > 0.3


def test_mixed_ranks_of_a_kept_head(place: Path, tmp_path: Path) -> None:
    found = factcli.finetune(
        str(place / "dense"), tmp_path / "out", keep=0.6, criterion="kfac", schedule="mixed-rank",
        **files(place, max_steps=4, learning_rate=1e-4),
    )  # fmt: skip
    again = factcli.evaluate(str(tmp_path / "out"), validation=place / "val.jsonl")[0]
    assert again["metrics"] == found["metrics"]
    made = factcli.convert(
        str(place / "dense"), tmp_path / "converted", keep=0.9, criterion="kfac", text_column=("tokens",),
        calibration=str(place / "train.jsonl"), compensation="none",
    )  # fmt: skip
    assert made["calibration"]["examples"] == 96
    kept = factcli.evaluate(str(tmp_path / "converted"), validation=place / "val.jsonl", label_column="ner_tags")[0]
    assert kept["metrics"]["f1"] > result(place, "dense")["metrics"]["f1"] - 0.3


@pytest.mark.parametrize("suffix", ["json", "parquet"])
def test_ids_are_named_by_the_model_or_the_user(suffix: str, place: Path, tmp_path: Path) -> None:
    rows = [(words, [TAGS.index(tag) for tag in tags]) for words, tags in read(place / "val.jsonl")]
    file = tmp_path / f"val.{suffix}"
    if suffix == "json":
        data.write(file, rows)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"tokens": [r[0] for r in rows], "ner_tags": [r[1] for r in rows]}), file)
    expected = result(place, "dense")["metrics"]
    for names in ((), TAGS):
        found = factcli.evaluate(str(place / "dense"), validation=file, label_names=names)[0]
        assert found["metrics"] == expected
    for source, more in (("dense", {}), ("base", {"label_names": tuple(TAGS)})):
        given = files(place, train=file, validation=file, max_steps=1) | more
        factcli.finetune(str(place / source), tmp_path / source, **given)
        config = json.loads((tmp_path / source / "config.json").read_text())
        assert list(config["id2label"].values()) == TAGS


def test_names_in_the_file(place: Path, tmp_path: Path) -> None:
    """Ids of a data set that names them (the class ClassLabel of `datasets`), in another order than the model."""
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    order = list(reversed(TAGS))
    rows = read(place / "val.jsonl")
    columns = {"tokens": [r[0] for r in rows], "ner_tags": [[order.index(tag) for tag in r[1]] for r in rows]}
    kinds = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=order))})
    Dataset.from_dict(columns, features=kinds).to_parquet(tmp_path / "val.parquet")
    found = factcli.evaluate(str(place / "dense"), validation=tmp_path / "val.parquet")[0]
    assert found["metrics"] == result(place, "dense")["metrics"]


def test_parts_of_speech(tmp_path: Path) -> None:
    place = save(tmp_path)
    for name in ("train", "val"):
        rows = [
            (words, [tag.replace("O", "NOUN")[:4] for tag in tags]) for words, tags in read(place / f"{name}.jsonl")
        ]
        data.write(place / f"{name}.jsonl", [(w, ["NAME" if "-" in tag else tag for tag in tags]) for w, tags in rows])
    found = factcli.finetune(str(place / "base"), place / "out", **files(place, epochs=3))
    assert list(found["metrics"]) == ["accuracy", "macro_f1"]
    assert found["metrics"]["accuracy"] > found["majority"]
    again = factcli.evaluate(str(place / "out"), validation=place / "val.jsonl")[0]
    assert (again["metrics"], again["failed_run"]) == (found["metrics"], False)


def test_words_beyond_the_limit(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They count as outside: as if the model had answered O."""
    found = factcli.evaluate(str(place / "dense"), validation=place / "val.jsonl", max_length=6)[0]
    rows = read(place / "val.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(place / "dense")
    model = AutoModelForTokenClassification.from_pretrained(place / "dense").eval()
    answers, unread = [], 0
    for words, _ in rows:
        batch = tokenizer(words, is_split_into_words=True, truncation=True, max_length=6, return_tensors="pt")
        with torch.inference_mode():
            best = model(**batch).logits[0].argmax(-1).tolist()
        tags = ["O"] * len(words)
        for word, i in reversed(list(zip(batch.word_ids(0), best, strict=True))):
            if word is not None:
                tags[word] = model.config.id2label[i]
        answers.append(tags)
        unread += len(words) - len(set(batch.word_ids(0)) - {None})
    assert found["metrics"] == pytest.approx(scores([tags for _, tags in rows], answers))
    assert unread > 20
    assert f"{unread} words of {sum(len(w) > 4 for w, _ in rows)} examples have no token" in caplog.text


def test_byte_level_in_stages(tmp_path: Path, stranger: Run) -> None:
    """A tokenizer whose words bring their spaces: what the pipeline makes of running text is what was measured."""
    place = save(tmp_path, "roberta")
    found = factcli.finetune(str(place / "base"), place / "out", keep=0.7, schedule="direct", **files(place, epochs=6))
    again = factcli.evaluate(str(place / "out"), validation=place / "val.jsonl")[0]
    assert again["metrics"] == found["metrics"]
    code = """if True:
        import json, sys
        import transformers as t
        pipe = t.pipeline("token-classification", model=sys.argv[1], trust_remote_code=True, ignore_labels=[])
        print(json.dumps([[[a["entity"], a["start"], a["end"]] for a in pipe(s)] for s in json.loads(sys.argv[2])]))
    """
    rows = read(place / "val.jsonl")
    done = stranger("-c", code, str(place / "out"), json.dumps([" ".join(words) for words, _ in rows]))
    assert done.returncode == 0, done.stderr
    answers = []
    for (words, _), tokens in zip(rows, json.loads(done.stdout.splitlines()[-1]), strict=True):
        start, tags = 0, []
        for word in words:
            first = max(0, start - 1)
            tags.append(next(tag for tag, a, b in tokens if first <= a < start + len(word) and b > first))
            start += len(word) + 1
        answers.append(tags)
    assert found["metrics"] == pytest.approx(scores([tags for _, tags in rows], answers))


def test_resumed_bit_for_bit(place: Path, python: Python, tmp_path: Path) -> None:
    chosen = files(place, keep=0.6, schedule="staged", stage_steps=3, max_steps=9, save_steps=2)
    factcli.finetune(str(place / "base"), tmp_path / "whole", **chosen)
    train_and_be_killed(python, place / "base", tmp_path / "killed", chosen, "step", 7)
    resumed = factcli.finetune(str(place / "base"), tmp_path / "killed", **chosen, resume=True)
    assert same(tmp_path / "whole", tmp_path / "killed")
    whole = json.loads((tmp_path / "whole" / "finetune_results.json").read_text())
    assert whole["metrics"] == resumed["metrics"]


def test_seeds(place: Path, tmp_path: Path) -> None:
    found = factcli.finetune(str(place / "base"), tmp_path / "out", seeds=(1, 2), **files(place, max_steps=2))
    assert set(found["summary"]["mean"]) == {"f1", "precision", "recall", "accuracy"}
    assert found["summary"]["failed_runs"] == sum(run["failed_run"] for run in found["runs"])
