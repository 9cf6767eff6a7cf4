"""Interrupted runs: killed, out of disk, half written; what is resumed ends with the same weights, bit for bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

import factcli

from .conftest import Run
from .processes import Python
from .training_helpers import same, save_model, train_and_be_killed, weights, write_glue

SCHEDULES: dict[str, dict[str, Any]] = {
    "direct": {"schedule": "direct", "max_steps": 20},
    "staged": {"schedule": "staged", "stage_steps": 8, "max_steps": 12},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    save_model(folder / "tiny", hidden_dropout_prob=0.1)
    write_glue(folder / "glue", "sst2", train=100)
    return folder


def options(place: Path, **more: Any) -> dict[str, Any]:
    """20 steps in all, 13 of them an epoch, a checkpoint after every third."""
    return {
        "task": "sst2", "data_dir": place / "glue", "method": "low-rank", "keep": 0.5, "batch_size": 8,
        "learning_rate": 1e-3, "save_steps": 3, "device": "cpu", **more,
    }  # fmt: skip


def command(place: Path, output: Path, *more: str, **chosen: Any) -> list[str]:
    """The same, as the command is called."""
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options(place, **chosen).items()]
    return ["finetune", str(place / "tiny"), *(word for flag in flags for word in flag), "-o", str(output), *more]


@pytest.fixture(scope="module")
def whole(place: Path) -> Callable[[str], Path]:
    """The export of a run by a schedule that nothing interrupted; made once."""

    def run(schedule: str) -> Path:
        output = place / schedule
        if not output.exists():
            factcli.finetune(str(place / "tiny"), output, **options(place, **SCHEDULES[schedule]))
        return output

    return run


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_killed_and_resumed_ends_the_same(
    schedule: str, place: Path, whole: Callable[[str], Path], python: Python, factcli: Run, tmp_path: Path
) -> None:
    output, checkpoints = tmp_path / "killed", tmp_path / "killed-checkpoints"
    chosen = options(place, **SCHEDULES[schedule])
    # in the middle of the first stage, and of an epoch, between two checkpoints
    train_and_be_killed(python, place / "tiny", output, chosen, "step", 5)
    again = factcli(*command(place, output, **SCHEDULES[schedule]))
    assert again.returncode == 1
    assert "--resume continues it" in again.stderr
    # and again, in the next
    train_and_be_killed(python, place / "tiny", output, chosen | {"resume": True}, "checkpoint", 15)
    assert {p.name for p in checkpoints.glob("checkpoint-*")} == {"checkpoint-12", "checkpoint-15"}
    (checkpoints / "checkpoint-15" / "trainer_state.json").write_text("{")  # half written: the one before is taken
    resumed = factcli(*command(place, output, "--resume", "--json", **SCHEDULES[schedule]))
    assert resumed.returncode == 0, resumed.stderr
    assert same(whole(schedule), output)
    results = [json.loads((d / "finetune_results.json").read_text()) for d in (whole(schedule), output)]
    assert results[0]["losses"] == results[1]["losses"]
    assert results[0]["metrics"] == results[1]["metrics"] == json.loads(resumed.stdout)["metrics"]
    assert not checkpoints.exists()


def test_checkpoints_reload_and_carry_their_code(place: Path, tmp_path: Path) -> None:
    """In the middle of a staged run: one block is factorized, the other is not."""
    kept: list[Path] = []

    def watch(event: Any) -> None:
        if event.kind == "checkpoint" and event.step == 4:
            kept.append(shutil.copytree(tmp_path / "out-checkpoints" / "checkpoint-4", tmp_path / "kept"))

    factcli.finetune(
        str(place / "tiny"), tmp_path / "out", task="sst2", data_dir=place / "glue", method="low-rank", keep=0.5,
        stage_steps=6, max_steps=2, save_steps=4, batch_size=8, watch=watch,
    )  # fmt: skip
    assert kept
    names = {file.name for file in kept[0].iterdir()}
    assert {"configuration_factorized.py", "modeling_factorized.py", "tokenizer_config.json"} <= names
    layers = json.loads((kept[0] / "config.json").read_text())["factorization"]["layers"]
    assert {layer["structure"] for layer in layers if "layer.1." in layer["name"]} == {"low-rank"}
    assert {layer["structure"] for layer in layers if "layer.0." in layer["name"]} == {"dense"}
    model = AutoModelForSequenceClassification.from_pretrained(kept[0], trust_remote_code=True)
    assert model.state_dict().keys() == weights(kept[0]).keys()


DISK = """
import json, resource, signal, sys
import factcli

def watch(event):
    if event.kind == "checkpoint":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model, output, options = json.loads(sys.argv[1])
try:
    factcli.finetune(model, output, **options, watch=watch)
except factcli.FactcliError as error:
    sys.exit(str(error))
"""


def test_a_full_disk_leaves_the_checkpoint_before(
    place: Path, whole: Callable[[str], Path], python: Python, factcli: Run, tmp_path: Path
) -> None:
    """The size of files is limited after the first checkpoint, so that the next one cannot be written."""
    asked = [place / "tiny", tmp_path / "out", options(place, **SCHEDULES["direct"])]
    failed = python.run("-c", DISK, json.dumps(asked, default=str))
    assert failed.returncode == 1
    assert "checkpoint-6 cannot be written" in failed.stderr
    assert [p.name for p in (tmp_path / "out-checkpoints").glob("checkpoint-*")] == ["checkpoint-3"]
    done = factcli(*command(place, tmp_path / "out", "--resume", **SCHEDULES["direct"]))
    assert done.returncode == 0, done.stderr
    assert "resuming from checkpoint-3" in done.stderr
    assert same(tmp_path / "out", whole("direct"))


def test_resume_wants_the_same_options(place: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "task": "sst2", "data_dir": place / "glue", "method": "low-rank", "keep": 0.5, "batch_size": 8, "save_steps": 1,
        "schedule": "direct",
    }  # fmt: skip

    def stop(event: Any) -> None:
        if event.kind == "checkpoint":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        factcli.finetune(str(place / "tiny"), tmp_path / "out", max_steps=4, watch=stop, **common)
    with pytest.raises(factcli.FactcliError, match="other options"):
        factcli.finetune(str(place / "tiny"), tmp_path / "out", max_steps=5, resume=True, **common)
    with pytest.raises(factcli.FactcliError, match="nothing to resume"):
        factcli.finetune(str(place / "tiny"), tmp_path / "other", max_steps=4, resume=True, **common)
    factcli.finetune(str(place / "tiny"), tmp_path / "out", max_steps=4, resume=True, **common)
