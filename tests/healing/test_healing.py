"""finetune without labels: each kind of model comes nearer to its teacher, and never further from it."""

import itertools
import json
import math
import shutil
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

import factcli
from factcli.data.tasks import load_split
from factcli.data.unlabelled import HELD_OUT, unlabelled_task
from factcli.errors import UsageError
from factcli.models.purpose import Purpose
from factcli.models.vectors import Vectors
from factcli.training.distillation import Weights, hidden_loss, logit_loss
from factcli.training.healing import healing_loss

from ..processes import Python
from ..training_helpers import FAST, same, save_model, train_and_be_killed, weights, write_csv, write_glue
from .made import pooled, save_teacher, write_texts

HEADS = {
    "embedding": (None, {}),
    "hidden": (None, {}),
    "class": ("BertForSequenceClassification", {"num_labels": 3}),
    "labels": ("BertForSequenceClassification", {"num_labels": 3, "problem_type": "multi_label_classification"}),
    "number": ("BertForSequenceClassification", {"num_labels": 1}),
    "token": ("BertForTokenClassification", {"num_labels": 4}),
    "masked": ("BertForMaskedLM", {}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healing")
    for name, (head, changes) in HEADS.items():
        save_teacher(folder, name, head, **changes)
    write_texts(folder / "texts.txt")
    return folder


def heal(place: Path, name: str, output: Path, **more: Any) -> dict[str, Any]:
    return factcli.finetune(
        str(place / f"{name}-small"), output, **({"teacher": str(place / name), "train": place / "texts.txt",
        "epochs": 6, **FAST} | more),
    )  # fmt: skip


def test_a_tagger_on_lists_of_words(place: Path, tmp_path: Path) -> None:
    """Words that are cut into several tokens or none: what is held out is measured over all tokens."""
    lines = [json.dumps({"tokens": text.split()}) for text in (place / "texts.txt").read_text().splitlines()]
    (tmp_path / "words.jsonl").write_text("\n".join(lines))
    result = heal(place, "token", tmp_path / "healed", train=tmp_path / "words.jsonl", text_column="tokens")
    again = heal(place, "token", tmp_path / "again")
    assert result["metrics"].keys() == {"agreement", "divergence"}
    assert result["metrics"]["divergence"] < result["before"]["divergence"]
    assert result["before"] == pytest.approx(again["before"])


def vectors(folder: Path, texts: list[str]) -> torch.Tensor:
    """Mean pooling by hand, normalized."""
    model, tokenizer = AutoModel.from_pretrained(folder, trust_remote_code=True), AutoTokenizer.from_pretrained(folder)
    found = []
    for text in texts:
        with torch.no_grad():
            states = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        mean = states.double().sum(0) / len(states)
        found.append(mean / mean.square().sum().sqrt())
    return torch.stack(found)


def held_out(place: Path) -> list[str]:
    task = unlabelled_task(place / "texts.txt", None, (), True, 0)
    return list(load_split(task)["text"])


@pytest.mark.parametrize("name", list(HEADS))
def test_comes_nearer_to_its_teacher(name: str, place: Path, tmp_path: Path) -> None:
    result = heal(place, name, tmp_path / "out")
    assert not result["failed_run"]
    before, after = result["before"], result["metrics"]
    assert before.keys() == after.keys()
    for metric, value in after.items():
        better = value > before[metric] if metric in ("cosine", "similarity") else value < before[metric]
        assert better or metric == "agreement", (metric, before, after)
    kept = json.loads((tmp_path / "out" / "finetune_results.json").read_text())
    assert kept["validation"]["split"] == HELD_OUT
    assert kept["before"] == before
    assert "text-classification" not in (tmp_path / "out" / "README.md").read_text() or name in (
        "class", "labels", "number",
    )  # fmt: skip


def test_the_cosine_is_that_of_the_files(place: Path, tmp_path: Path) -> None:
    result = heal(place, "embedding", tmp_path / "out")
    texts = held_out(place)
    assert len(texts) == 8
    taught = vectors(place / "embedding", texts)
    for folder, found in ((place / "embedding-small", result["before"]), (tmp_path / "out", result["metrics"])):
        own, pairs = vectors(folder, texts), list(itertools.combinations(range(len(texts)), 2))
        assert found["cosine"] == pytest.approx(float((own * taught).sum(1).mean()), abs=1e-5)
        both = [[float(v[i] @ v[j]) for i, j in pairs] for v in (own, taught)]
        assert found["similarity"] == pytest.approx(statistics.correlation(*both), abs=1e-4)


def test_what_harms_is_not_kept(place: Path, tmp_path: Path) -> None:
    said: list[str] = []
    result = factcli.finetune(
        str(place / "embedding"), tmp_path / "out", teacher=str(place / "embedding"), train=place / "texts.txt",
        max_steps=20, watch=lambda event: said.append(event.text), **FAST,
    )  # fmt: skip
    assert result["failed_run"]
    assert result["best_step"] == 0
    assert result["metrics"] == result["before"] == pytest.approx({"cosine": 1, "similarity": 1})
    assert same(tmp_path / "out", place / "embedding")
    assert any("the model is as it was" in text for text in said)


def test_no_text_is_on_both_sides(tmp_path: Path) -> None:
    lines = [f"w{i} w{i % 7}" for i in range(60)]
    (tmp_path / "t.txt").write_text("\n".join([*lines, *lines[:30], *lines[:10]]) + "\n")
    task = unlabelled_task(tmp_path / "t.txt", None, (), False, 4)
    train, held = (list(load_split(task, split)["text"]) for split in ("train", HELD_OUT))
    assert len(held) == len(set(held)) == 6
    assert not set(train) & set(held)
    assert set(train) | set(held) == set(lines)
    other = list(load_split(unlabelled_task(tmp_path / "t.txt", None, (), False, 5))["text"])
    assert other != held


def test_a_dense_student_is_factorized_in_stages(place: Path, tmp_path: Path) -> None:
    result = factcli.finetune(
        str(place / "embedding"), tmp_path / "out", teacher=str(place / "embedding"), train=place / "texts.txt",
        method="low-rank", keep=0.3, schedule="staged", stage_steps=3, epochs=6, **FAST,
    )  # fmt: skip
    assert result["metrics"]["cosine"] > result["before"]["cosine"]  # before: when all of it is factorized
    assert AutoModel.from_pretrained(tmp_path / "out", trust_remote_code=True).config.factorization["layers"]


def test_pairs_are_two_texts_to_an_embedding_model_and_one_to_a_scorer(place: Path, tmp_path: Path) -> None:
    pairs = [(f"w{i} good", f"w{i + 1} bad") for i in range(40)]
    file = write_csv(tmp_path / "pairs.csv", pairs, ("query", "passage"))
    columns = {"train": file, "text_column": ("query", "passage"), "epochs": 1}
    heal(place, "embedding", tmp_path / "a", **columns)
    heal(place, "number", tmp_path / "b", **columns)
    steps = [json.loads((tmp_path / n / "finetune_results.json").read_text())["steps"] for n in "ab"]
    assert steps == [math.ceil(72 / 16), math.ceil(36 / 16)]


def test_labels_are_not_read_where_they_are_not_asked_for(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labelled = write_csv(tmp_path / "l.csv", [(f"w{i} good", str(i % 2)) for i in range(40)])
    with pytest.raises(UsageError, match="--label-weight 0 to learn from the teacher alone"):
        heal(place, "class", tmp_path / "out", train=labelled)
    result = heal(place, "class", tmp_path / "out", train=labelled, label_weight=0, epochs=1)
    assert result["majority"] is None
    assert any("column 'label' is not read" in record.message for record in caplog.records)


def test_outputs_are_paired_by_the_names_of_the_labels(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    teacher = save_model(tmp_path / "teacher", "bert", "BertForSequenceClassification", num_labels=3)
    config = json.loads((teacher / "config.json").read_text())
    config |= {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    (teacher / "config.json").write_text(json.dumps(config))
    student = save_model(tmp_path / "student", "bert", "BertForSequenceClassification", num_labels=3)
    turned = ["c", "a", "b"]
    config |= {"id2label": dict(enumerate(turned)), "label2id": {n: i for i, n in enumerate(turned)}}
    (student / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    state = weights(teacher)
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = state[name][[names.index(n) for n in turned]].clone()
    save_file(state, student / "model.safetensors", {"format": "pt"})
    texts = write_texts(tmp_path / "t.txt", 40)
    result = factcli.finetune(
        str(student), tmp_path / "out", teacher=str(teacher), train=texts, max_steps=1, **FAST
    )  # fmt: skip
    assert result["before"]["agreement"] == 1  # the same model, its outputs in another order
    assert result["before"]["divergence"] == pytest.approx(0, abs=1e-6)


def test_killed_and_resumed_ends_the_same(place: Path, python: Python, tmp_path: Path) -> None:
    options = {"teacher": place / "embedding", "train": place / "texts.txt", **FAST, "epochs": 4, "save_steps": 6}
    model = place / "embedding-small"
    train_and_be_killed(python, model, tmp_path / "killed", options, "step", 14)
    factcli.finetune(str(model), tmp_path / "killed", **options, resume=True)
    factcli.finetune(str(model), tmp_path / "whole", **options)
    assert same(tmp_path / "killed", tmp_path / "whole")
    results = [json.loads((tmp_path / n / "finetune_results.json").read_text()) for n in ("killed", "whole")]
    assert all(results[0][k] == results[1][k] for k in ("losses", "metrics", "before", "best_step"))


def test_the_teachers_answers_are_kept(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    for name in ("embedding", "number"):
        for kept in (False, True):
            heal(place, name, tmp_path / f"{name}-{kept}", teacher_cache=kept, hidden_weight=0, epochs=2)
        a, b = (json.loads((tmp_path / f"{name}-{k}" / "finetune_results.json").read_text()) for k in (False, True))
        assert [loss for _, loss in a["losses"]] == pytest.approx([loss for _, loss in b["losses"]], rel=1e-3)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no teacher": ("embedding", {"teacher": None}, "--train and --teacher"),
    "another size": ("embedding", {"teacher": "wide"}, "embeds in 64 dimensions"),
    "another kind": ("embedding", {"teacher": "class"}, "take one that is for the same"),
    "another number of outputs": ("class", {"teacher": "token-like"}, "has 5 outputs"),
    "temperature of vectors": ("embedding", {"temperature": 3.0}, "vectors, which are not softened"),
    "weight of labels": ("class", {"label_weight": 2.0}, "on texts without labels"),
    "no hidden states": ("hidden", {"hidden_weight": 0}, "leave --hidden-weight above 0"),
    "logits of none": ("masked", {"logit_weight": 2.0}, "hidden states alone are learnt"),
    "new head": ("class", {"new_head": True}, "on texts without labels"),
    "attention kept": ("embedding", {"teacher_cache": True, "attention_weight": 1.0}, "keeps no attention"),
    "attention of other heads": ("embedding", {"teacher": "heads", "attention_weight": 1.0}, "give --attention-weight"),
    "answers kept of none": ("hidden", {"teacher_cache": True}, "keeps answers, of which a model without a head gives"),
    "nothing to learn": (
        "class", {"label_weight": 0, "hidden_weight": 0, "logit_weight": 0}, "Every weight of the loss is 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_learnt(name: str, place: Path, tmp_path: Path) -> None:
    model, options, message = REFUSED[name]
    pooled(save_model(tmp_path / "wide", hidden_size=64), size=64)
    pooled(save_model(tmp_path / "heads", num_attention_heads=2))
    save_model(tmp_path / "token-like", "bert", "BertForSequenceClassification", num_labels=5)
    if (tmp_path / str(options.get("teacher"))).is_dir():
        options = options | {"teacher": str(tmp_path / options["teacher"])}
    elif options.get("teacher"):
        options = options | {"teacher": str(place / options["teacher"])}
    with pytest.raises(factcli.FactcliError, match=message):
        heal(place, model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune": "movement", "density": 0.5}, "--prune needs labels: give them, or leave it out"),
        ({"schedule": "mixed-rank", "keep": 0.5}, "--schedule mixed-rank needs labels: take another, or leave it out"),
    ],
)
def test_ways_that_need_labels(options: dict[str, Any], message: str, place: Path, tmp_path: Path) -> None:
    model = str(place / "class")
    with pytest.raises(UsageError, match=message):
        factcli.finetune(model, tmp_path / "out", teacher=model, train=place / "texts.txt", **options, **FAST)
    assert not list(tmp_path.iterdir())


def test_a_teacher_with_other_labels(place: Path, tmp_path: Path) -> None:
    names = {"joyful": {0: "joy", 1: "fear"}, "angry": {0: "anger", 1: "fear"}}
    for name, labels in names.items():
        save_model(tmp_path / name, "bert", "BertForSequenceClassification", id2label=labels)
    with pytest.raises(factcli.FactcliError, match=r"with joy, fear, .*angry with anger, fear: take one with the same"):
        factcli.finetune(
            str(tmp_path / "angry"), tmp_path / "out", teacher=str(tmp_path / "joyful"), train=place / "texts.txt",
            **FAST,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("lines", "message"), [(["w1 w2"] * 9, "are all the same"), ([], "empty"), (["w1"], "are all the same")]
)
def test_texts_from_which_nothing_is_learnt(lines: list[str], message: str, place: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(lines))
    with pytest.raises(factcli.FactcliError, match=message):
        heal(place, "embedding", tmp_path / "out", train=tmp_path / "t.txt")


def test_texts_of_one_word_are_enough(place: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(f"w{i}" for i in range(30)))
    assert heal(place, "embedding", tmp_path / "out", train=tmp_path / "t.txt", epochs=1)["metrics"]


def test_labels_are_still_learnt_from(place: Path, tmp_path: Path) -> None:
    """With labels on both sides a teacher is learnt from beside them, as before."""
    write_glue(tmp_path / "glue", "sst2", train=32, validation=16)
    result = factcli.finetune(
        str(save_model(tmp_path / "m", "bert", "BertForSequenceClassification")), tmp_path / "out", task="sst2",
        data_dir=tmp_path / "glue", teacher=str(save_model(tmp_path / "t", "bert", "BertForSequenceClassification")),
        max_steps=1, **FAST,
    )  # fmt: skip
    assert result["majority"] is not None
    assert "before" not in result


def test_the_loss_by_hand() -> None:
    """Mean pooling and the cosine in numpy, of texts with padding; each other part as beside labels."""
    draw = np.random.default_rng(0)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    states, taught = draw.normal(size=(3, 4, 5)), draw.normal(size=(3, 5))
    means = [states[i, : int(mask[i].sum())].mean(0) for i in range(3)]
    cosines = [m @ t / np.linalg.norm(m) / np.linalg.norm(t) for m, t in zip(means, taught, strict=True)]
    none = Weights(hidden=0, attention=0)
    student: Any = (torch.from_numpy(states).float(),)
    teacher = SimpleNamespace(logits=torch.from_numpy(taught).float())
    loss = healing_loss(Purpose("embedding", Vectors()), student, teacher, mask, none)
    assert float(loss) == pytest.approx(1 - float(np.mean(cosines)), abs=1e-6)
    logits = [torch.from_numpy(draw.normal(size=(3, 4, 6))).float() for _ in range(2)]
    both = [SimpleNamespace(logits=x) for x in logits]
    tagged = healing_loss(Purpose("token"), *both, mask, none)
    assert float(tagged) == pytest.approx(float(logit_loss(*(x[mask.bool()] for x in logits), 2.0, False)))
    hidden = [SimpleNamespace(hidden_states=(x, x * 2)) for x in logits]
    found = healing_loss(Purpose("hidden"), *hidden, mask, Weights(hidden=0.5))
    assert float(found) == pytest.approx(0.5 * float(hidden_loss(*logits, mask)))


@pytest.mark.parametrize(
    ("kind", "head", "message"),
    [
        ("bert", "BertForQuestionAnswering", "which finetune does not teach"),
        ("t5", "T5ForConditionalGeneration", "answers in words"),
        ("t5", None, "take its encoder alone"),
        ("bart", None, "take its encoder alone"),
        ("bert", "BertForMultipleChoice", "of which it is not known what it is for"),
    ],
)
def test_models_that_learn_nothing_of_a_teacher_alone(
    kind: str, head: str | None, message: str, place: Path, tmp_path: Path
) -> None:
    model = str(save_model(tmp_path / "model", kind, head))
    with pytest.raises(factcli.FactcliError, match=message):
        factcli.finetune(model, tmp_path / "out", teacher=model, train=place / "texts.txt", max_steps=1, **FAST)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_precision_of_the_files_stays(dtype: torch.dtype, place: Path, tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(place / "embedding-small", trust_remote_code=True)
    small = shutil.copytree(place / "embedding-small", tmp_path / "small")
    model.to(dtype).save_pretrained(small)
    result = factcli.finetune(
        str(small), tmp_path / "out", teacher=str(place / "embedding"), train=place / "texts.txt", max_steps=8, **FAST
    )
    assert result["metrics"]["cosine"] > result["before"]["cosine"]
    assert {t.dtype for n, t in weights(tmp_path / "out").items() if "factor" in n} == {dtype}


def test_an_encoder_whose_configuration_is_of_the_whole(place: Path, tmp_path: Path) -> None:
    """As encoders of T5 are published."""
    model = save_model(tmp_path / "model", "t5")
    T5EncoderModel.from_pretrained(model).save_pretrained(model)
    config = json.loads((model / "config.json").read_text()) | {"is_encoder_decoder": True}
    (model / "config.json").write_text(json.dumps(config))
    factcli.convert(str(pooled(model)), tmp_path / "small", keep=0.3)
    result = factcli.finetune(
        str(tmp_path / "small"), tmp_path / "out", teacher=str(model), train=place / "texts.txt", max_steps=20, **FAST
    )
    assert result["metrics"]["cosine"] > result["before"]["cosine"]
