"""Single files: written whole, with the mode they had, by several processes without a loss."""

import json
from pathlib import Path

import pytest

from factcli.files import atomic as files

from .writers import start


def test_several_processes_update_a_file(tmp_path: Path) -> None:
    script = """
import json, sys
from pathlib import Path
from factcli.files import atomic as files
file = Path(sys.argv[1])
for i in range(40):
    with files.updating(file):
        values = json.loads(file.read_text()) if file.is_file() else []
        files.write_json(file, [*values, [sys.argv[2], i]])
"""
    processes = [start(script, tmp_path / "results.json", name) for name in "abc"]
    assert [p.wait(120) for p in processes] == [0, 0, 0]
    assert len(json.loads((tmp_path / "results.json").read_text())) == 120
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_texts_keep_their_mode_and_leave_nothing(tmp_path: Path) -> None:
    file = tmp_path / "card.md"
    file.write_text("old")
    file.chmod(0o640)
    with pytest.raises(UnicodeEncodeError):
        files.write_text(file, "half \ud800")
    assert file.read_text() == "old"
    files.write_text(file, "ne\nw")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"ne\nw", 0o640)
    assert [p.name for p in tmp_path.iterdir()] == ["card.md"]
