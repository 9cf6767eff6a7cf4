"""The scripts that measure us start, so that none is broken when its time comes; those for a GPU run, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT
from .processes import Python
from .training_helpers import save_model, write_glue

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[s.name for s in SCRIPTS])
def test_it_says_what_it_takes(script: Path, python: Python) -> None:
    done = python.run(script, "--help")
    assert done.returncode == 0, done.stderr


def test_what_a_gpu_is_for_runs(tmp_path: Path, world: dict[str, str]) -> None:
    """Every part of gpu.sh but the tests of tests/devices, which run by themselves."""
    save_model(tmp_path / "model")
    write_glue(tmp_path / "glue", "sst2", train=256)
    command = [ROOT / "benchmarks" / "gpu.sh", "--device", "cpu", "--smoke"]
    done = subprocess.run(
        [*command, tmp_path / "model", tmp_path / "glue", tmp_path / "results"], env=world | {"PYTHON": sys.executable},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("forward", "training", "conversions"):
        assert json.loads((tmp_path / "results" / f"gpu-{part}.json").read_text())["device"] == "a CPU"
        assert "|---" in (tmp_path / "results" / f"gpu-{part}.md").read_text()
    bad = subprocess.run([*command, "--fast"], env=os.environ, capture_output=True, text=True)
    assert bad.returncode == 2
    assert "take --device, --smoke or --only" in bad.stderr
