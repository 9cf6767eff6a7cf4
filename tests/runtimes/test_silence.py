"""Whoever logs after an export is heard: what its libraries set up while they were silent is gone."""

import subprocess
import sys
from pathlib import Path

from .. import tiny
from ..test_reload import save_with_tokenizer
from ..training_helpers import write_csv
from .conftest import texts

CODE = """
import logging, sys, factcli
model, calibration = sys.argv[1:]
factcli.export(model, format=("onnx", "openvino"), precision="int8", calibration=calibration)
logging.getLogger("factcli").warning("a note")
logging.getLogger("nncf").warning("of the quantizer")
"""


def test_notes_after_an_export_are_heard(tmp_path: Path) -> None:
    save_with_tokenizer(tiny.make("bert"), tmp_path / "model", {})
    calibration = write_csv(tmp_path / "texts.csv", [(text,) for text in texts(16)], ("text",))
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path / "model", calibration], text=True, capture_output=True, check=True
    )
    assert "Logging error" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line == "a note"] == ["a note"]
    assert done.stderr.rstrip().endswith("of the quantizer")
