"""A student with a part of its teacher's vocabulary: the teacher reads the same pieces under its own ids."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

import factcli
from factcli.data.tasks import GLUE, load_split
from factcli.models.model import find_model
from factcli.recipe.training import Settings
from factcli.training.distillation import Weights, load_teacher
from factcli.training.job import prepare
from factcli.training.teacher_cache import cached

from ..training_helpers import FAST, teach


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    teach(tmp_path, monkeypatch, max_steps=2)
    texts = load_split(GLUE["sst2"], "train", tmp_path / "glue")["text"][:]
    (tmp_path / "texts.txt").write_text("\n".join(text for text in texts if "w1" not in text))
    factcli.convert(str(tmp_path / "base"), tmp_path / "small", vocabulary=tmp_path / "texts.txt")
    return tmp_path


def test_it_says_of_the_student_s_ids_what_it_says_of_its_own(place: Path) -> None:
    train, validation = (load_split(GLUE["sst2"], split, place / "glue") for split in ("train", None))
    job = prepare(find_model(str(place / "small")), GLUE["sst2"], Settings(), train, validation)
    source, teacher = load_teacher(job, str(place / "teacher"), Weights(hidden=1.0))
    old = t.AutoTokenizer.from_pretrained(place / "teacher")
    assert teacher.tokens is not None
    assert len(job.tokenizer) < len(old)
    model = t.AutoModelForSequenceClassification.from_pretrained(place / "teacher").eval()
    kept = cached(teacher, source, job, torch.device("cpu"))
    compared = 0
    for features in job.train[:20]:
        batch = dict(job.tokenizer.pad([{k: v for k, v in features.items() if k != "labels"}], return_tensors="pt"))
        tokens = job.tokenizer.convert_ids_to_tokens(features["input_ids"])
        given = torch.tensor([old.convert_tokens_to_ids(tokens)])
        compared += given.tolist() != batch["input_ids"].tolist()
        with torch.inference_mode():
            meant = model(input_ids=given, output_hidden_states=True)
        for said in (teacher(batch), kept(batch)):
            torch.testing.assert_close(said.logits, meant.logits, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(said.hidden_states[1].float(), meant.hidden_states[1], rtol=1e-2, atol=1e-2)
    assert compared > 10  # ids that are not the same


@pytest.mark.parametrize("options", [{}, {"keep": 0.5, "schedule": "direct"}, {"teacher_cache": True}])
def test_finetune_with_the_teacher_of_the_whole_vocabulary(options: dict[str, Any], place: Path) -> None:
    result = factcli.finetune(
        str(place / "small"), place / "out", task="sst2", data_dir=place / "glue", teacher=str(place / "teacher"),
        max_steps=2, **options, **FAST,
    )  # fmt: skip
    assert result["steps"] == 2


def test_a_teacher_without_the_student_s_tokens_is_refused(place: Path) -> None:
    common: dict[str, Any] = {"task": "sst2", "data_dir": place / "glue", "max_steps": 1, **FAST}
    factcli.finetune(str(place / "small"), place / "trained", **common)
    with pytest.raises(factcli.FactcliError, match="another tokenizer than"):
        factcli.finetune(str(place / "base"), place / "out", teacher=str(place / "trained"), **common)
    assert not (place / "out").exists()
