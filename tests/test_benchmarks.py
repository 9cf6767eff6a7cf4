"""The scripts that measure us start: no test runs them, so none would see that they import what has moved."""

from pathlib import Path

import pytest

from .conftest import ROOT
from .processes import Python

SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[s.name for s in SCRIPTS])
def test_it_says_what_it_takes(script: Path, python: Python) -> None:
    done = python.run(script, "--help")
    assert done.returncode == 0, done.stderr
