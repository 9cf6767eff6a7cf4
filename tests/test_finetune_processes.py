"""Two processes under `accelerate launch` train as one does with the same global batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import factcli

from .training_helpers import save_model, weights, write_glue

LAUNCH = [
    sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "taught"), [("direct", False), ("staged", False), ("direct", True)])
def test_two_processes_equal_one(schedule: str, taught: bool, world: dict[str, str], tmp_path: Path) -> None:
    # Each process draws its own dropout, so the comparison is without; the data fill whole batches.
    model = save_model(tmp_path / "tiny", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    write_glue(tmp_path / "glue", "sst2", train=128)
    teacher = []
    if taught:
        torch.manual_seed(7)
        save_model(tmp_path / "teacher", "bert", "BertForSequenceClassification")
        teacher = ["--teacher", str(tmp_path / "teacher")]
    arguments = [
        "-m", "factcli", "finetune", str(model), "--task", "sst2", "--data-dir", str(tmp_path / "glue"), "--method",
        "low-rank", "--keep", "0.5", "--schedule", schedule, "--max-steps", "20",
        *(["--stage-steps", "10"] if schedule == "staged" else []), "--batch-size", "16",
        "--learning-rate", "2e-3", "--device", "cpu", "--json", *teacher, "-o",
    ]  # fmt: skip
    runs = {"one": [sys.executable, *arguments], "two": [*LAUNCH, *arguments]}
    losses, metrics = {}, {}
    for name, command in runs.items():
        done = subprocess.run([*command, str(tmp_path / name)], env=world, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        metrics[name] = json.loads(done.stdout)["metrics"]  # one object: the other process prints nothing
        losses[name] = json.loads((tmp_path / name / "finetune_results.json").read_text())["losses"]
    assert [step for step, _ in losses["one"]] == [step for step, _ in losses["two"]]
    one, two = ([loss for _, loss in losses[name]] for name in ("one", "two"))
    assert two == pytest.approx(one, rel=1e-3)
    assert metrics["one"] == metrics["two"]
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=2e-3)


def test_two_processes_mix(world: dict[str, str], tmp_path: Path) -> None:
    """Each process draws its own mixture; they end with the same factors, alone and good."""
    model = save_model(tmp_path / "tiny")
    write_glue(tmp_path / "glue", "sst2", train=256)
    arguments = [
        "-m", "factcli", "finetune", str(model), "--task", "sst2", "--data-dir", str(tmp_path / "glue"), "--keep",
        "0.5", "--schedule", "mixed-rank", "--epochs", "8", "--batch-size", "16", "--learning-rate", "4e-3",
        "--device", "cpu", "--json", "-o", str(tmp_path / "out"),
    ]  # fmt: skip
    done = subprocess.run([*LAUNCH, *arguments], env=world, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["metrics"]["accuracy"] > 0.9
    again = factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=tmp_path / "glue", device="cpu")[0]
    assert again["metrics"] == json.loads(done.stdout)["metrics"]
