"""A sweep of tiny runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from ..training_helpers import save_model, write_glue

COMMON: dict[str, Any] = {"data_dir": "glue", "batch_size": 16, "max_steps": 2, "learning_rate": 4e-3, "device": "cpu"}


def make_place(folder: Path) -> Path:
    """With a model `bert` and a task, both tiny."""
    save_model(folder / "bert")
    write_glue(folder / "glue", "sst2", train=32, validation=16)
    return folder


def write_sweep(folder: Path, **changes: Any) -> Path:
    """A dense model that six factorized ones start from, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "variables": {"glue": "glue"},
        "options": COMMON | {"data_dir": "{glue}", "task": "sst2", "model": "shared:dense", "schedule": "direct"},
        "grid": {
            "structure": {"Low-Rank": {"method": "low-rank"}, "Monarch": {"method": "monarch", "blocks": 2}},
            "keep": [0.5, 0.25],
            "seed": [1, 2],
        },
        "exclude": [{"structure": "Monarch", "keep": 0.25}],
        "shared": {"dense": COMMON | {"model": "bert", "data_dir": "{glue}", "task": "sst2"}},
    }
    values |= changes
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False))
    return file


def start(folder: Path, world: dict[str, str], *args: str | Path) -> subprocess.Popen[str]:
    """`factcli sweep` in `folder`, in a process of its own."""
    command = [sys.executable, "-m", "factcli", "sweep", *map(str, args), "--json"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_results(folder: Path, count: int, driver: subprocess.Popen[str], seconds: float = 300) -> None:
    """Until so many are there; the driver must still be at work."""
    until = time.monotonic() + seconds
    while len(list((folder / "results").glob("*.json"))) < count:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def kill(driver: subprocess.Popen[str]) -> None:
    """As nothing in it can see coming."""
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()


def what_counts(result: dict[str, Any]) -> dict[str, Any]:
    """Without the clock, and where things lay."""
    return {k: v for k, v in result.items() if k not in ("seconds", "model", "output", "pushed")}


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """Of a results folder: each is whole."""
    return {file.stem: json.loads(file.read_text()) for file in (folder / "results").glob("*.json")}
