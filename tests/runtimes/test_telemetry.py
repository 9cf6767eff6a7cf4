"""Whose library it is that makes a file is no reason to tell its maker that somebody made one."""

import os
import subprocess
import sys
from pathlib import Path

from .. import tiny
from ..test_reload import save_with_tokenizer
from ..training_helpers import write_csv
from .conftest import FORMATS, INT8, texts


def test_nobody_is_told_of_an_export(tmp_path: Path) -> None:
    """Whoever they tell their makers of has a number in their home then; in CI and beside pytest they tell nothing."""
    home, small = tmp_path / "home", tmp_path / "small"
    home.mkdir()
    save_with_tokenizer(tiny.make("bert"), tmp_path / "model", {})
    calibration = write_csv(tmp_path / "texts.csv", [(text,) for text in texts(16)], ("text",))
    env = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL", "XDG_CACHE_HOME")}
    env |= {"HOME": str(home), "LOCALAPPDATA": str(home)}

    def run(*command: str | Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "factcli", *map(str, command)], env=env, text=True, capture_output=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    formats = [word for name in FORMATS for word in ("--format", name)]
    run("convert", tmp_path / "model", "--keep", "0.5", *formats, "--precision", "int8", "--calibration", calibration,
        "-o", small)  # fmt: skip
    for name in FORMATS:
        assert (small / name / INT8[name]).is_file()
        run("bench", small, "--backend", name, "--precision", "int8", "--runs", "1", "--sequence-length", "8")
    kept = {str(path.relative_to(home)) for path in home.rglob("*")}
    assert not {path for path in kept if "intel" in path.lower() or "microsoft" in path.lower()}, kept
