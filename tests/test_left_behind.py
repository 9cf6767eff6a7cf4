"""A call leaves its output and nothing else: no folder, no environment variable, no state of a library."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.utils import logging

import factcli
from factcli.commands.unchanged import unchanged
from factcli.training.events import Event

from .training_helpers import rows, save_model, write_csv

COMMON: dict[str, Any] = {"batch_size": 8, "max_steps": 2, "device": "cpu"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory beside a model and data."""
    save_model(tmp_path / "bert")
    write_csv(tmp_path / "d.csv", rows(16, 1))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def train(**options: Any) -> dict[str, Any]:
    files = {"train": "../d.csv", "validation": "../d.csv"}
    return factcli.finetune("../bert", "out", **(files | COMMON | options))


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": "search"},
        {"keep": 0.5, "stage_steps": 2, "seeds": "1-2"},
        {"keep": 0.5, "prune": "magnitude", "density": 0.5},
    ],
)
def test_only_the_output(options: dict[str, Any], here: Path) -> None:
    train(**options)
    assert os.listdir(here) == ["out"]
    assert sorted(os.listdir(here.parent)) == ["bert", "d.csv", "here"]


@pytest.mark.parametrize("kind", ["loss", "step", "search"])
@pytest.mark.parametrize("options", [{}, {"prune": "magnitude", "density": 0.5, "keep": 0.5}, {"seeds": "1-2"}],
                         ids=["one", "phases", "seeds"])  # fmt: skip
def test_nothing_of_an_interrupt_without_a_checkpoint(kind: str, options: dict[str, Any], here: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == kind:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(watch=stop, learning_rate="search" if kind == "search" else 1e-4, **options)
    assert os.listdir(here) == []


@pytest.mark.parametrize("save_steps", [0, 1])
def test_nothing_of_a_run_that_diverged(save_steps: int, here: Path) -> None:
    with pytest.raises(factcli.FactcliError, match="diverged"):
        train(learning_rate=0.99, weight_decay=1e9, max_steps=12, save_steps=save_steps)
    assert os.listdir(here) == []


def test_a_checkpoint_of_an_interrupt_stays(here: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == "checkpoint":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(watch=stop, save_steps=1)
    assert os.listdir(here) == ["out-checkpoints"]
    train(resume=True, save_steps=1)
    assert os.listdir(here) == ["out"]


def test_what_others_put_beside_checkpoints_stays(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    def put(event: Event) -> None:
        if event.kind == "checkpoint":
            (here / "out-checkpoints" / "notes.txt").write_text("mine")

    caplog.set_level("WARNING")
    train(watch=put, save_steps=1)
    assert "out-checkpoints holds notes.txt, which is not of the run, and stays." in caplog.text
    assert sorted(os.listdir(here)) == ["out", "out-checkpoints"]
    assert os.listdir(here / "out-checkpoints") == ["notes.txt"]


def state() -> tuple[Any, ...]:
    return (
        dict(os.environ), random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark, logging.get_verbosity(), torch.is_grad_enabled(), torch.get_default_dtype(),
    )  # fmt: skip


def test_the_process_is_as_it_was(here: Path) -> None:
    before = state()
    train(keep=0.5, stage_steps=2, criterion="kfac", precision="bfloat16")
    factcli.convert("../bert", "small", keep=0.5, criterion="kfac", calibration="../d.csv")
    factcli.evaluate("out", validation="../d.csv")
    factcli.bench("small", sequence_length=8, runs=1, threads=2, device="cpu")
    factcli.diagnose("../bert", calibration="../d.csv")
    after = state()
    assert after[0] == before[0]
    assert after[1:] == before[1:]


def test_what_libraries_change_is_put_back() -> None:
    def change() -> None:
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cuda:1"
        os.environ.pop("PATH")
        random.random(), np.random.rand(), torch.rand(1)
        torch.set_num_threads(3)
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = True
        logging.set_verbosity_debug()
        raise RuntimeError

    before = state()
    with pytest.raises(RuntimeError), unchanged():
        change()
    assert state() == before
