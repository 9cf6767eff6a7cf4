"""Interrupted runs: killed, out of disk, half written; what is resumed ends with the same weights, bit for bit."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

import factcli

from .training_helpers import same, save_model, weights, write_glue

SCHEDULES = {"direct": ("--schedule", "direct"), "staged": ("--schedule", "staged", "--stage-steps", "30")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    save_model(folder / "tiny", hidden_dropout_prob=0.1)
    write_glue(folder / "glue", "sst2", train=100)
    return folder


def command(place: Path, output: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "factcli", "finetune", str(place / "tiny"), "--task", "sst2", "--data-dir",
        str(place / "glue"), "--method", "low-rank", "--keep", "0.5", "--batch-size", "8", "--max-steps", "60",
        "--learning-rate", "1e-3", "--save-steps", "4", "--device", "cpu", "-o", str(output), *more,
    ]  # fmt: skip


def kill_after(checkpoints: Path, steps: int, args: list[str], world: dict[str, str]) -> None:
    """Run a command and kill it as soon as the checkpoint of a step is whole."""
    with subprocess.Popen(args, env=world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while not (checkpoints / f"checkpoint-{steps}" / "trainer_state.json").is_file():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_killed_and_resumed_ends_the_same(schedule: str, place: Path, world: dict[str, str], tmp_path: Path) -> None:
    options = SCHEDULES[schedule]
    whole = subprocess.run(command(place, tmp_path / "whole", *options, "--json"), env=world, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    killed = command(place, tmp_path / "killed", *options)
    checkpoints = tmp_path / "killed-checkpoints"
    kill_after(checkpoints, 16, killed, world)  # in the middle of the first stage, and of an epoch
    assert not (tmp_path / "killed").exists()
    again = subprocess.run(killed, env=world, capture_output=True, text=True)
    assert again.returncode == 1
    assert "--resume continues it" in again.stderr
    kill_after(checkpoints, 44, [*killed, "--resume"], world)  # and again, in the next
    newest = max(checkpoints.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    (newest / "trainer_state.json").write_text("{")  # half written: the one before is taken
    resumed = subprocess.run([*killed, "--resume", "--json"], env=world, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert same(tmp_path / "whole", tmp_path / "killed")
    results = [json.loads((tmp_path / d / "finetune_results.json").read_text()) for d in ("whole", "killed")]
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


def test_a_full_disk_leaves_the_checkpoint_before(place: Path, world: dict[str, str], tmp_path: Path) -> None:
    """The size of files is limited after the first checkpoint, so that the next one cannot be written."""
    script = f"""
import resource, signal, sys
import factcli

def watch(event):
    if event.kind == "checkpoint":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    factcli.finetune({str(place / "tiny")!r}, {str(tmp_path / "out")!r}, task="sst2", data_dir={str(place / "glue")!r},
        method="low-rank", keep=0.5, batch_size=8, max_steps=60, learning_rate=1e-3, save_steps=4, device="cpu",
        schedule="direct", watch=watch)
except factcli.FactcliError as error:
    sys.exit(str(error))
"""
    failed = subprocess.run([sys.executable, "-c", script], env=world, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "checkpoint-8 cannot be written" in failed.stderr
    assert [p.name for p in (tmp_path / "out-checkpoints").glob("checkpoint-*")] == ["checkpoint-4"]
    resumed = command(place, tmp_path / "out", "--schedule", "direct", "--resume")
    done = subprocess.run(resumed, env=world, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming from checkpoint-4" in done.stderr
    whole = command(place, tmp_path / "whole", "--schedule", "direct")
    assert subprocess.run(whole, env=world, capture_output=True).returncode == 0
    assert same(tmp_path / "out", tmp_path / "whole")


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
