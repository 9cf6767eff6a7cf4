"""Two processes under torchrun train as one does with the same global batch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import factcli

from .conftest import ROOT
from .healing.made import save_teacher, write_texts
from .tagging import data as tagging
from .training_helpers import save_model, weights, write_glue

MODELS = {"healed": "embedding-small", "tagged": "tags/base"}
# accelerate's own launcher starts several processes on a CPU through MPI alone; it sets the same variables.
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
COMMANDS = """
import json, os, sys
from factcli.cli import main

assert os.environ["WORLD_SIZE"] == "2"
for words in json.loads(sys.argv[1]):
    sys.argv = ["factcli", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""
SAME: dict[str, dict[str, Any]] = {
    "direct": {"schedule": "direct"},
    "staged": {"schedule": "staged", "stage_steps": 6},
    "taught": {"schedule": "direct", "teacher": "teacher"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Each process draws its own dropout, so the comparison is without; the data fill whole batches.
    folder = tmp_path_factory.mktemp("processes")
    save_model(folder / "tiny", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    save_model(folder / "teacher", "bert", "BertForSequenceClassification", seed=7)
    write_glue(folder / "glue", "sst2", train=128)
    save_teacher(folder, "embedding")
    write_texts(folder / "texts.txt", 70)
    tagging.save(folder / "tags", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return folder


def options(place: Path, **more: Any) -> dict[str, Any]:
    chosen = {"method": "low-rank", "max_steps": 12, "batch_size": 16, "learning_rate": 2e-3} | more
    if "teacher" in chosen:
        chosen["teacher"] = place / chosen["teacher"]
    return {"task": "sst2", "data_dir": place / "glue", "keep": 0.5, "device": "cpu", **chosen}


def healing(place: Path) -> dict[str, Any]:
    """Options of a training without labels."""
    return {
        "teacher": place / "embedding", "train": place / "texts.txt", "max_steps": 12, "batch_size": 16,
        "learning_rate": 2e-3, "device": "cpu",
    }  # fmt: skip


def tagged(place: Path) -> dict[str, Any]:
    """Options of a tagger, of whose words the processes have different numbers."""
    files = {"train": place / "tags" / "train.jsonl", "validation": place / "tags" / "val.jsonl"}
    common = {k: v for k, v in options(place).items() if k not in ("task", "data_dir")}
    return common | files | {"text_column": "tokens", "label_column": "ner_tags", "schedule": "direct"}


@pytest.fixture(scope="module")
def two(place: Path, world: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What two processes print for the commands, all in one launch: one object each, the other process nothing."""
    mix = {"schedule": "mixed-rank", "max_steps": 64, "learning_rate": 4e-3}
    chosen = {name: options(place, **more) for name, more in (SAME | {"mix": mix}).items()}
    chosen |= {"healed": healing(place), "tagged": tagged(place)}
    commands = [
        ["finetune", str(place / MODELS.get(name, "tiny")), "--json", "-o", str(place / f"two-{name}")]
        + [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        for name, values in chosen.items()
    ]
    (place / "commands.py").write_text(COMMANDS)
    done = subprocess.run(
        [*LAUNCH, str(place / "commands.py"), json.dumps(commands)], env=world | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads("[" + done.stdout.replace("\n}\n{", "\n},\n{") + "]")
    return dict(zip(chosen, printed, strict=True))


@pytest.mark.parametrize("name", list(SAME))
def test_two_processes_equal_one(name: str, place: Path, two: dict[str, dict[str, Any]]) -> None:
    one = factcli.finetune(str(place / "tiny"), place / f"one-{name}", **options(place, **SAME[name]))
    first, second = (
        json.loads((place / f"{count}-{name}" / "finetune_results.json").read_text())["losses"]
        for count in ("one", "two")
    )
    assert [step for step, _ in first] == [step for step, _ in second]
    assert [loss for _, loss in second] == pytest.approx([loss for _, loss in first], rel=1e-3)
    assert one["metrics"] == two[name]["metrics"]
    found = weights(place / f"two-{name}")
    for key, tensor in weights(place / f"one-{name}").items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=2e-3)


def test_two_processes_mix(place: Path, two: dict[str, dict[str, Any]]) -> None:
    """Each process draws its own mixture; they end with the same factors, alone and good."""
    assert two["mix"]["metrics"]["accuracy"] > 0.9
    again = factcli.evaluate(str(place / "two-mix"), task="sst2", data_dir=place / "glue", device="cpu")[0]
    assert again["metrics"] == two["mix"]["metrics"]


def test_two_processes_learn_from_a_teacher_alone(place: Path, two: dict[str, dict[str, Any]]) -> None:
    one = factcli.finetune(str(place / "embedding-small"), place / "one-healed", **healing(place))
    assert two["healed"]["before"] == pytest.approx(one["before"], rel=1e-5)
    assert two["healed"]["metrics"] == pytest.approx(one["metrics"], abs=0.02)
    assert two["healed"]["metrics"]["cosine"] > two["healed"]["before"]["cosine"]


def test_two_processes_tag(place: Path, two: dict[str, dict[str, Any]]) -> None:
    one = factcli.finetune(str(place / "tags" / "base"), place / "one-tagged", **tagged(place))
    assert two["tagged"]["metrics"] == pytest.approx(one["metrics"])
    found = weights(place / "two-tagged")
    for key, tensor in weights(place / "one-tagged").items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=2e-3)
