"""Learning from a teacher: each loss by hand, what is refused, and end to end."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import XLNetConfig, XLNetForSequenceClassification

import factcli
from factcli.recipe.training import make_settings
from factcli.training.distillation import (
    Weights,
    attention_loss,
    distillation_loss,
    hidden_loss,
    logit_loss,
    matched,
)
from factcli.training.schedules import schedules

from .training_helpers import rows, same, save_model, save_tokenizer, stage_steps, write_csv, write_glue

FAST: dict[str, Any] = {"batch_size": 16, "learning_rate": 4e-3, "save_steps": 0, "device": "cpu"}
HEAD = "BertForSequenceClassification"
B, T, D, K = 3, 5, 4, 3


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


def check_gradient(loss: Any, x: torch.Tensor, expected: np.ndarray[Any, Any]) -> None:
    """autograd's gradient against the one computed by hand."""
    x = x.clone().requires_grad_()
    loss(x).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.double().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_logits_by_hand() -> None:
    s, t, temperature = torch.randn(B, K), torch.randn(B, K), 3.0

    def soft(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        e = np.exp(x / temperature)
        return e / e.sum(-1, keepdims=True)

    p, q = soft(t.double().numpy()), soft(s.double().numpy())
    expected = temperature**2 * (p * np.log(p / q)).sum(-1).mean()
    assert logit_loss(s, t, temperature, False).item() == pytest.approx(expected, rel=1e-5)
    check_gradient(lambda x: logit_loss(x, t, temperature, False), s, temperature * (q - p) / B)
    s, t = torch.randn(B, 1), torch.randn(B, 1)
    check_gradient(lambda x: logit_loss(x, t, temperature, True), s, 2 * (s - t).double().numpy() / B)


def test_hidden_states_by_hand(mask: torch.Tensor) -> None:
    s, t = torch.randn(B, T, D), torch.randn(B, T, D) * 5
    rows = mask.bool().numpy()
    a, b = s.double().numpy()[rows], t.double().numpy()[rows]
    scale = b.var(-1).mean()
    assert hidden_loss(s, t, mask).item() == pytest.approx(((a - b) ** 2).mean() / scale, rel=1e-5)
    gradient = np.zeros((B, T, D))
    gradient[rows] = 2 * (a - b) / a.size / scale
    check_gradient(lambda x: hidden_loss(x, t, mask), s, gradient)
    assert hidden_loss(s * 7, t * 7, mask).item() == pytest.approx(hidden_loss(s, t, mask).item(), rel=1e-5)


def test_attention_by_hand(mask: torch.Tensor) -> None:
    s, t = torch.randn(B, 2, T, T).softmax(-1), torch.randn(B, 2, T, T).softmax(-1)
    a, b = s.double().numpy(), t.double().numpy()
    each = (b * np.log(b / a)).sum(-1)  # (B, heads, T)
    expected = np.mean([each[i, h, j] for i in range(B) for h in range(2) for j in range(T) if mask[i, j]])
    assert attention_loss(s, t, mask).item() == pytest.approx(expected, rel=1e-5)
    gradient = (1 - b / a) * mask.numpy()[:, None, :, None] / (2 * int(mask.sum()))  # 1: rows are made to sum to one
    check_gradient(lambda x: attention_loss(x, t, mask), s, gradient)


def test_what_dropout_takes_from_attention_does_not_count(mask: torch.Tensor) -> None:
    s, t = torch.randn(B, 2, T, T).softmax(-1), torch.randn(B, 2, T, T).softmax(-1)
    dropped = torch.nn.functional.dropout(s, 0.3)
    dropped[..., 0] = s[..., 0] / 0.7  # something stays in every row
    assert attention_loss(dropped, s, mask).item() == pytest.approx(0, abs=1e-6)
    a, b = dropped.double().numpy(), t.double().numpy() * (dropped > 0).numpy()
    a, b = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
    each = np.where(b > 0, b * np.log(np.where(b > 0, b, 1) / np.where(b > 0, a, 1)), 0).sum(-1)
    expected = np.mean([each[i, h, j] for i in range(B) for h in range(2) for j in range(T) if mask[i, j]])
    assert attention_loss(dropped, t, mask).item() == pytest.approx(expected, rel=1e-5)
    leaf = dropped.clone().requires_grad_()
    attention_loss(leaf, t, mask).backward()
    assert leaf.grad is not None
    assert bool(torch.isfinite(leaf.grad).all())


def test_the_sum_of_the_parts(mask: torch.Tensor) -> None:
    def output(layers: int) -> Any:
        return SimpleNamespace(
            loss=torch.tensor(2.0), logits=torch.randn(B, K), hidden_states=tuple(torch.randn(layers + 1, B, T, D)),
            attentions=tuple(torch.randn(layers, B, 2, T, T).softmax(-1)),
        )  # fmt: skip

    s, t = output(2), output(4)
    w = Weights(2.0, 0.5, 0.3, 0.2, 0.1)
    hidden = [hidden_loss(s.hidden_states[i], t.hidden_states[2 * i], mask) for i in range(3)]
    attention = [attention_loss(s.attentions[i], t.attentions[3 * i], mask) for i in range(2)]
    expected = 1.0 + 0.3 * logit_loss(s.logits, t.logits, 2.0, False) + 0.2 * sum(hidden) / 3 + 0.1 * sum(attention) / 2
    assert distillation_loss(s, t, mask, w, False).item() == pytest.approx(float(expected), rel=1e-6)
    assert distillation_loss(s, t, mask, Weights(1, 1, 0, 0, 0), False).item() == 2.0
    assert [
        b is t.hidden_states[i] for (_, b), i in zip(matched(s.hidden_states, t.hidden_states), (0, 2, 4), strict=True)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher that has learnt its task, the model that it was, and one whose labels are swapped."""
    folder = tmp_path_factory.mktemp("taught")
    save_model(folder / "base")
    save_model(folder / "wide", hidden_size=64, intermediate_size=64)
    save_model(folder / "three", "bert", HEAD, num_labels=3)
    write_glue(folder / "glue", "sst2", train=256)
    common = {"task": "sst2", "data_dir": folder / "glue", "epochs": 4, **FAST}
    for name in ("base", "wide"):
        factcli.finetune(str(folder / name), folder / f"{name}-teacher", **common)
    swapped = shutil.copytree(folder / "base-teacher", folder / "swapped")
    config = (swapped / "config.json").read_text()
    names = ('"0": "negative"', '"1": "positive"'), ('"0": "positive"', '"1": "negative"')
    for old, new in zip(*names, strict=True):
        config = config.replace(old, new)
    config = config.replace('"negative": 0', '"negative": 9').replace('"positive": 1', '"positive": 0')
    (swapped / "config.json").write_text(config.replace('"negative": 9', '"negative": 1'))
    tensors = load_file(swapped / "model.safetensors")
    tensors |= {k: tensors[k].flip(0).contiguous() for k in ("classifier.weight", "classifier.bias")}
    save_file(tensors, swapped / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("schedule", list(schedules))
def test_a_student_learns_from_its_teacher_alone(schedule: str, place: Path, tmp_path: Path) -> None:
    """Without a word from the labels, and whatever order the teacher has its labels in: to the same weights."""
    for name in ("base-teacher", "swapped"):
        result = factcli.finetune(
            str(place / "base"), tmp_path / name, task="sst2", data_dir=place / "glue", keep=0.5, schedule=schedule,
            epochs=5, seed=1, teacher=str(place / name), label_weight=0, attention_weight=0.1, **FAST,
            **stage_steps(schedule, 6),
        )  # fmt: skip
        assert result["metrics"]["accuracy"] > 0.9
    assert same(tmp_path / "base-teacher", tmp_path / "swapped")
    kept = make_settings(tmp_path / "swapped" / "factcli_recipe.yaml", {})
    assert (kept.teacher, kept.label_weight, kept.attention_weight) == ("swapped", 0, 0.1)


def test_a_regression(place: Path, tmp_path: Path) -> None:
    from .training_helpers import rows, write_csv

    numbers = [(text, str(0.5 + (label == "yes"))) for text, label in rows(128, 3)]
    files = {s: write_csv(tmp_path / f"{s}.csv", numbers) for s in ("train", "validation")}  # type: ignore[arg-type]
    factcli.finetune(str(place / "base"), tmp_path / "teacher", epochs=5, **files, **FAST)
    result = factcli.finetune(
        str(place / "base"), tmp_path / "out", method="monarch", blocks=2, keep=0.5, epochs=5, label_weight=0,
        teacher=str(tmp_path / "teacher"), **files, **FAST,
    )  # fmt: skip
    assert result["metrics"]["pearson"] > 0.8


@pytest.mark.parametrize(
    ("teacher", "options", "said"),
    [
        ("nowhere", {}, "nowhere"),
        ("base", {}, "has no classification head"),
        ("three", {}, "a head for 3 labels, the student for 2"),
        ("wide-teacher", {}, "--hidden-weight 0"),
        ("base-teacher", {"logit_weight": -1}, "--logit-weight -1 is not above 0"),
        ("base-teacher", {"temperature": 0}, "--temperature 0 is not above 0"),
    ],
)
def test_refused(teacher: str, options: dict[str, Any], said: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", keep=0.5, max_steps=1,
            teacher=str(place / teacher), **options, **FAST,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_another_tokenizer(place: Path, tmp_path: Path) -> None:
    other = shutil.copytree(place / "base-teacher", tmp_path / "other")
    tokenizer = (other / "tokenizer.json").read_text().replace('"w1"', '"v1"')
    (other / "tokenizer.json").write_text(tokenizer.replace('"w2"', '"v2"').replace('"w3"', '"v3"'))
    words = {f"w{i}": f"v{i}" for i in range(90)}
    for old, new in words.items():
        tokenizer = tokenizer.replace(f'"{old}"', f'"{new}"')
    (other / "tokenizer.json").write_text(tokenizer)
    with pytest.raises(factcli.FactcliError, match="another tokenizer than"):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", keep=0.5, max_steps=1,
            teacher=str(other), **FAST,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["vocabulary", "inputs"])
def test_a_tokenizer_that_differs_elsewhere(kind: str, place: Path, tmp_path: Path) -> None:
    """In words that the validation data need not have, or in what it gives beside the tokens."""
    other = shutil.copytree(place / "base-teacher", tmp_path / "other")
    if kind == "vocabulary":
        text = (other / "tokenizer.json").read_text()
        (other / "tokenizer.json").write_text(text.replace('"no": 96', '"maybe": 96'))
    else:
        config = json.loads((other / "tokenizer_config.json").read_text())
        (other / "tokenizer_config.json").write_text(
            json.dumps(config | {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]})
        )
    pairs = write_csv(tmp_path / "pairs.csv", [(text, "w1 w2", label) for text, label in rows(16, 1)],
                      ("text", "text_pair", "label"))  # fmt: skip
    said = {"vocabulary": "another tokenizer than", "inputs": "other token types than"}[kind]
    with pytest.raises(factcli.FactcliError, match=said):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", train=pairs, validation=pairs, keep=0.5, max_steps=1,
            teacher=str(other), **FAST,
        )  # fmt: skip


def test_an_encoder_and_decoder_teaches_its_logits(place: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "base", "bart")
    common: dict[str, Any] = {"task": "sst2", "data_dir": place / "glue", "max_steps": 2, **FAST}
    factcli.finetune(str(tmp_path / "base"), tmp_path / "teacher", **common)
    common |= {"teacher": str(tmp_path / "teacher"), "keep": 0.5, "schedule": "direct"}
    with pytest.raises(factcli.FactcliError, match="give --hidden-weight 0"):
        factcli.finetune(str(tmp_path / "base"), tmp_path / "out", **common)
    result = factcli.finetune(str(tmp_path / "base"), tmp_path / "out", hidden_weight=0, **common)
    assert result["steps"] == 2


def test_a_teacher_of_another_width_gives_its_logits(place: Path, tmp_path: Path) -> None:
    result = factcli.finetune(
        str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", keep=0.5, epochs=5,
        schedule="direct", teacher=str(place / "wide-teacher"), hidden_weight=0, label_weight=0, **FAST,
    )  # fmt: skip
    assert result["metrics"]["accuracy"] > 0.9


def test_a_teacher_that_is_padded_on_the_other_side(place: Path, tmp_path: Path) -> None:
    """As XLNet is, which looks at the last token of a text."""
    other = tmp_path / "xlnet"
    sizes = {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
    XLNetForSequenceClassification(XLNetConfig(**sizes)).save_pretrained(other)
    save_tokenizer(other)
    with pytest.raises(factcli.FactcliError, match=r"wants padding on another side than .*: take another"):
        factcli.finetune(
            str(place / "base"), tmp_path / "out", task="sst2", data_dir=place / "glue", keep=0.5, max_steps=1,
            teacher=str(other), **FAST,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
