"""What finetune refuses, before it has written or trained anything."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

import factcli
from factcli.errors import UsageError
from factcli.models.memory import memory_advice

from .training_helpers import rows, save_model, write_csv, write_glue

LPAF: dict[str, Any] = {"prune": "movement", "density": 0.5, "keep": 0.5}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("errors")
    save_model(folder / "tiny")
    save_model(folder / "three", "bert", "BertForSequenceClassification", num_labels=3)
    save_model(folder / "llama", "llama")
    save_model(folder / "t5", "t5", "T5ForConditionalGeneration")
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
        ("tiny", {"seeds": "1-2", "push_to_hub": True}, "--push-to-hub publishes one model: give --seed, not --seeds"),
        ("tiny", LPAF | {"seeds": "1-2"}, "--prune with a budget makes one model: give --seed, not --seeds"),
        ("t5", {"text_to_text": True, "teacher": "three"}, "classification or regression head: leave out --text"),
    ],
)
def test_refused(model: str, options: dict[str, Any], message: str, place: Path, tmp_path: Path) -> None:
    values = {"task": "sst2", "data_dir": place / "glue", "max_steps": 2} | options
    if "teacher" in values:
        values["teacher"] = str(place / values["teacher"])
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 7}, "--batch-size 7 is not divisible by the 2 processes: take another"),
        ({"keep": 0.5, "torch_compile": True}, "--torch-compile over several processes needs --schedule direct"),
        (LPAF, "runs in one process: give its three phases as three commands"),
    ],
)
def test_what_two_processes_cannot_do(
    options: dict[str, Any], said: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them says it before it waits for the other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=said):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", device="cpu", **options
        )
    assert not list(tmp_path.iterdir())


def test_stages_in_a_wrapper_of_accelerate(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DeepSpeed is: it knows the parameters that it was made with, like torch's own, which is made anew."""

    class Wrapper(torch.nn.Module):
        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.module = model

        def forward(self, **inputs: Any) -> Any:
            return self.module(**inputs)

    monkeypatch.setattr("accelerate.Accelerator.prepare_model", lambda _, model, **__: Wrapper(model))
    monkeypatch.setattr(TrainingArguments, "world_size", property(lambda _: 2))
    with pytest.raises(UsageError, match=r"Wrapper around the model, .*: take --schedule direct"):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", device="cpu", keep=0.5,
            schedule="staged", stage_steps=1, max_steps=1, batch_size=2,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_shares_of_the_steps_that_are_more_than_all(place: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("training: {prune: movement, density: 0.5, prune_warmup: 0.5, prune_cooldown: 0.5}\n")
    with pytest.raises(UsageError, match="prune_warmup and prune_cooldown are shares of the steps, below 1 to"):
        factcli.finetune(str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", config=recipe)
    assert list(tmp_path.iterdir()) == [recipe]


def test_a_reporter_that_is_not_installed(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(factcli.FactcliError, match="--report-to trackio needs a package: pip install trackio"):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", report_to="trackio"
        )
    assert not list(tmp_path.iterdir())


def test_a_gpu_without_bfloat16(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("is_available", True), ("device_count", 1), ("is_bf16_supported", False)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    with pytest.raises(factcli.FactcliError, match="--precision bfloat16 does not work on cuda: leave it out or take"):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", device="cuda",
            precision="bfloat16",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_a_head_of_several_outputs_for_a_number(place: Path, tmp_path: Path) -> None:
    numbers = [(text, f"{i / 7:.3f}") for i, (text, _) in enumerate(rows(20, 1))]
    data = write_csv(tmp_path / "n.csv", [*numbers])
    with pytest.raises(factcli.FactcliError, match=r"a head for 3 labels but .* is a regression: give --new-head"):
        factcli.finetune(str(place / "three"), tmp_path / "out", train=data, validation=data)
    assert list(tmp_path.iterdir()) == [data]


def test_a_search_in_which_every_rate_diverges(place: Path, tmp_path: Path) -> None:
    with pytest.raises(factcli.FactcliError, match="diverges with every learning rate of the search: look at the data"):
        factcli.finetune(
            str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", device="cpu", batch_size=4,
            learning_rate="search", weight_decay=1e12,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
