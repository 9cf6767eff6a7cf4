"""Training on the device: bfloat16 and the fused optimizer where it is a GPU, every schedule, resume, two GPUs."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import factcli

from ..conftest import ROOT
from ..processes import Python
from ..test_finetune_processes import LAUNCH
from ..training_helpers import FAST, same, stage_steps, train_and_be_killed, weights


def options(place: Path, device: str, **more: Any) -> dict[str, Any]:
    """On the GLUE task; `device` overrides what fast runs of tests take."""
    return FAST | {"task": "sst2", "data_dir": place / "glue", "keep": 0.5, "max_steps": 24, "device": device} | more


SCHEDULES: dict[str, dict[str, Any]] = {
    "direct": {"schedule": "direct"},
    "staged": {"schedule": "staged", **stage_steps("staged", 4)},
    "mixed-rank": {"schedule": "mixed-rank"},
    "taught": {"schedule": "direct", "teacher": "classes"},
    "taught-cached": {"schedule": "direct", "teacher": "classes", "teacher_cache": True},
    "kfac": {"schedule": "direct", "criterion": "kfac", "allocation": "global"},
    "checkpointing": {"schedule": "direct", "gradient_checkpointing": True},
    "pruned": {"schedule": "mixed-rank", "prune": "movement", "density": 0.4, "criterion": "sparsity"},
    "monarch": {"schedule": "staged", "method": "monarch", "blocks": 2, **stage_steps("staged", 4)},
    "dense": {"keep": None},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name: str, place: Path, tmp_path: Path, device: str, on_gpu: bool) -> None:
    chosen = options(place, device, **SCHEDULES[name])
    if "teacher" in chosen:
        chosen["teacher"] = str(place / "classes")
    chosen = {k: v for k, v in chosen.items() if v is not None}
    result = factcli.finetune(str(place / "base"), tmp_path / "out", **chosen)
    assert result["steps"] >= 24
    for tensor in weights(tmp_path / "out").values():
        assert tensor.device.type == "cpu"
        assert tensor.dtype == torch.float32 or not tensor.is_floating_point()
        assert tensor.isfinite().all()
    again = factcli.evaluate(str(tmp_path / "out"), task="sst2", data_dir=place / "glue", device=device)[0]
    assert again["metrics"] == result["metrics"]


def test_without_labels(place: Path, tmp_path: Path, device: str) -> None:
    result = factcli.finetune(
        str(place / "embedding-small"), tmp_path / "out", teacher=str(place / "embedding"), train=place / "texts.txt",
        max_steps=20, batch_size=16, learning_rate=2e-3, device=device,
    )  # fmt: skip
    assert result["best_step"] >= 0
    assert all(t.isfinite().all() for t in weights(tmp_path / "out").values())


@pytest.mark.parametrize("name", ["staged", "taught-cached"])
def test_resume_after_a_kill(name: str, python: Python, place: Path, tmp_path: Path, device: str) -> None:
    """Bit for bit what a run without the kill gives, where the device's sums are the same twice."""
    chosen = options(place, device, save_steps=4, **SCHEDULES[name])
    if "teacher" in chosen:
        chosen["teacher"] = str(place / "classes")
    whole = factcli.finetune(str(place / "base"), tmp_path / "whole", **chosen)
    twice = factcli.finetune(str(place / "base"), tmp_path / "twice", **chosen)
    train_and_be_killed(python, place / "base", tmp_path / "killed", chosen, "step", 14)
    done = factcli.finetune(str(place / "base"), tmp_path / "killed", resume=True, **chosen)
    assert done["steps"] == whole["steps"]
    if same(tmp_path / "whole", tmp_path / "twice"):
        assert same(tmp_path / "whole", tmp_path / "killed")
    else:
        assert twice["metrics"].keys() == done["metrics"].keys()
        for key, t in weights(tmp_path / "whole").items():
            torch.testing.assert_close(weights(tmp_path / "killed")[key], t, rtol=0, atol=5e-2)


def test_two_processes(place: Path, tmp_path: Path, device: str, world: dict[str, str], on_gpu: bool) -> None:
    """Two GPUs where there are two; on a CPU that is what tests/test_finetune_processes.py holds."""
    if not on_gpu or torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    command = [
        *LAUNCH, "-m", "factcli", "finetune", str(place / "base"), "--task", "sst2", "--data-dir",
        str(place / "glue"), "--keep", "0.5", "--max-steps", "12", "--batch-size", "16", "-o", str(tmp_path / "out"),
        "--json",
    ]  # fmt: skip
    done = subprocess.run(command, env=os.environ | world, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12
