"""--teacher-cache: one pass of the teacher serves every epoch and run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import FNetConfig, FNetForSequenceClassification

import factcli
from factcli.data.tasks import GLUE, load_split
from factcli.errors import FactcliError, UsageError
from factcli.files.caches import cache_directory
from factcli.models.model import find_model
from factcli.recipe.training import Settings
from factcli.training.distillation import Weights, load_teacher
from factcli.training.job import prepare
from factcli.training.teacher_cache import cached

from .training_helpers import FAST, same, save_tokenizer, teach, weights


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    teach(tmp_path, monkeypatch, epochs=4)
    return tmp_path


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_it_says_what_the_teacher_says(hidden: float, place: Path) -> None:
    """Of every example, whatever batch it comes in."""
    task = GLUE["sst2"]
    train, validation = (load_split(task, split, place / "glue") for split in ("train", None))
    job = prepare(find_model(str(place / "base")), task, Settings(), train, validation)
    source, teacher = load_teacher(job, str(place / "teacher"), Weights(hidden=hidden))
    kept = cached(teacher, source, job, torch.device("cpu"))
    for start in (0, 5, 60):
        chosen = [{k: v for k, v in f.items() if k != "labels"} for f in job.train[start : start + 9]]
        batch = dict(job.tokenizer.pad(chosen, return_tensors="pt"))
        there = batch["attention_mask"].bool()
        said, read = teacher(batch), kept(batch)
        torch.testing.assert_close(read.logits, said.logits, rtol=1e-5, atol=1e-5)
        if hidden:
            for a, b in zip(read.hidden_states, said.hidden_states, strict=True):
                torch.testing.assert_close(a[there].float(), b[there], rtol=1e-3, atol=1e-3)
                assert not a[~there].any()


def test_runs_share_it(place: Path) -> None:
    """A second run reads the file of the first and ends the same; without the cache training goes the same way."""
    common: dict[str, Any] = {
        "task": "sst2", "data_dir": place / "glue", "keep": 0.5, "schedule": "direct", "epochs": 4, "seed": 1,
        "teacher": str(place / "teacher"), **FAST,
    }  # fmt: skip
    plain = factcli.finetune(str(place / "base"), place / "plain", **common)
    first = factcli.finetune(str(place / "base"), place / "first", teacher_cache=True, **common)
    (file,) = cache_directory("teachers").glob("*")
    content = file.read_bytes()
    factcli.finetune(str(place / "base"), place / "second", teacher_cache=True, **common)
    assert same(place / "first", place / "second")
    assert list(cache_directory("teachers").glob("*")) == [file]
    assert file.read_bytes() == content
    assert first["metrics"] == plain["metrics"]
    for name, tensor in weights(place / "plain").items():
        torch.testing.assert_close(weights(place / "first")[name], tensor, rtol=0, atol=5e-3)
    file.write_bytes(content[: len(content) // 2])  # a torn file is made anew
    factcli.finetune(str(place / "base"), place / "third", teacher_cache=True, **common)
    assert same(place / "first", place / "third")


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "give both"), ({"teacher": "teacher", "attention_weight": 1.0}, "keeps no attention")],
)
def test_refused(options: dict[str, Any], said: str, place: Path) -> None:
    if "teacher" in options:
        options = options | {"teacher": str(place / options["teacher"])}
    with pytest.raises(UsageError, match=said):
        factcli.finetune(
            str(place / "base"), place / "out", task="sst2", data_dir=place / "glue", keep=0.5, max_steps=1,
            teacher_cache=True, **options, **FAST,
        )  # fmt: skip
    assert not (place / "out").exists()


def test_more_than_a_cache_holds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factcli.training.teacher_cache.LIMIT", 1000)
    with pytest.raises(FactcliError, match=r"outputs would take 0 GiB: leave out --teacher-cache, or give --hid"):
        factcli.finetune(
            str(place / "base"), place / "out", task="sst2", data_dir=place / "glue", keep=0.5, max_steps=1,
            teacher_cache=True, teacher=str(place / "teacher"), **FAST,
        )  # fmt: skip
    assert not (place / "out").exists()
    assert not list(cache_directory("teachers").glob("*"))


def test_a_model_that_does_not_know_what_is_padding(place: Path) -> None:
    """FNet mixes all tokens of a batch's rows: what a teacher says of a text depends on how far it was padded."""
    sizes = {
        "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 40, "tpu_short_seq_length": 40,
    }  # fmt: skip
    FNetForSequenceClassification(FNetConfig(**sizes)).save_pretrained(place / "fnet")
    save_tokenizer(place / "fnet")
    with pytest.raises(UsageError, match=r"is for models that know what is padding, unlike .*fnet"):
        factcli.finetune(
            str(place / "fnet"), place / "out", task="sst2", data_dir=place / "glue", max_steps=1, teacher_cache=True,
            teacher=str(place / "fnet"), **FAST,
        )  # fmt: skip
    assert not (place / "out").exists()
