"""What finetune refuses, before it has written or trained anything."""

from pathlib import Path
from typing import Any

import pytest
import torch

import factcli
from factcli.models.memory import memory_advice

from .training_helpers import rows, save_model, write_csv, write_glue


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("errors")
    save_model(folder / "tiny")
    save_model(folder / "three", "bert", "BertForSequenceClassification", num_labels=3)
    save_model(folder / "llama", "llama")
    factcli.convert(str(folder / "tiny"), folder / "small", keep=0.5)
    write_glue(folder / "glue", "sst2", train=32, validation=16)
    return folder


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("tiny", {"task": "sst3"}, "did you mean 'sst2'"),
        ("tiny", {"task": None}, "Give --task"),
        ("tiny", {"train": "x.csv"}, "not both|either --task"),
        ("small", {"method": "low-rank", "keep": 0.5}, "is factorized already"),
        ("small", {"keep": 0.5}, "is factorized already"),
        ("small", {"schedule": "staged"}, "is factorized already"),
        ("tiny", {"method": "low-rank"}, "exactly one of --params"),
        ("tiny", {"method": "low-rnk", "keep": 0.5}, "did you mean 'low-rank'"),
        ("tiny", {"keep": 0.5, "schedule": "stage"}, "did you mean 'staged'"),
        ("tiny", {"schedule": "staged"}, "give --method and a budget"),
        ("tiny", {"keep": 0.5, "order": "sideways"}, "high-to-low or low-to-high"),
        ("tiny", {"keep": 0.5, "stages": 3}, "--stages 3 does not fit: the plan has 2 blocks"),
        ("tiny", {"keep": 0.5, "stage_steps": 0}, "--schedule direct"),
        ("tiny", {"batch_size": 0}, "--batch-size 0 is below 1"),
        ("tiny", {"learning_rate": "fast"}, "neither a number nor 'search'"),
        ("tiny", {"warmup_ratio": 1.5}, "--warmup-ratio"),
        ("tiny", {"precision": "float16"}, "--precision 'float16' is unknown"),
        ("tiny", {"seeds": "3-1"}, "not a list such as 1-6"),
        ("tiny", {"seeds": "1-2", "seed": 1}, "not both"),
        ("tiny", {"report_to": "paper"}, "--report-to 'paper' is unknown"),
        ("three", {}, "a head for 3 labels .* --new-head"),
        ("tiny", {"text_to_text": True}, "no text-to-text head"),
        ("tiny", {"resume": True}, "nothing to resume"),
    ],
)
def test_refused(model: str, options: dict[str, Any], message: str, place: Path, tmp_path: Path) -> None:
    values = {"task": "sst2", "data_dir": place / "glue", "max_steps": 2} | options
    with pytest.raises(factcli.FactcliError, match=message):
        factcli.finetune(str(place / model), tmp_path / "out", **values)
    assert not (tmp_path / "out").exists()


def test_a_new_head_replaces_one_that_does_not_fit(place: Path, tmp_path: Path) -> None:
    result = factcli.finetune(
        str(place / "three"), tmp_path / "out", task="sst2", data_dir=place / "glue", max_steps=2, new_head=True,
        keep=0.5, schedule="direct",
    )  # fmt: skip
    assert (
        factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=place / "glue")[0]["metrics"] == result["metrics"]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(place: Path, tmp_path: Path) -> None:
    with pytest.raises(factcli.FactcliError, match="take --device cpu"):
        factcli.finetune(str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", device="cuda")


def test_labels_of_the_validation_file_are_those_of_training(place: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", rows(20, 1))
    write_csv(tmp_path / "val.csv", [*rows(5, 2), ("w1 w2", "perhaps")])
    with pytest.raises(factcli.FactcliError, match="has the label 'perhaps'; the known labels are no, yes"):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", train=tmp_path / "train.csv", validation=tmp_path / "val.csv"
        )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_lowers_it(error: Exception) -> None:
    with pytest.raises(factcli.FactcliError, match=r"lower --batch-size \(now 32\), --max-length"), memory_advice(32):
        raise error
    with pytest.raises(RuntimeError, match="something else"), memory_advice(32):
        raise RuntimeError("something else")
