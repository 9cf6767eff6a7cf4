"""After a kill the old or the new model is there, and the next process finds it."""

import signal
import sys
from pathlib import Path

import pytest

import factcli
from factcli.files import atomic as files
from factcli.files.outputs import Output

from .writers import WRITES, read, start, write


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "there", "recovered"),
    [("writing", "old", "old"), ("rename 1", None, "old"), ("rename 2", "new", "new"), ("rename 3", "new", "new"),
     ("removing", "new", "new")],
)  # fmt: skip
def test_killed(moment: str, there: str | None, recovered: str, tmp_path: Path) -> None:
    """At each moment the old or the new one is whole: under its name, or (where two names cannot change places at once)
    found again by the next who reads or writes."""
    out = tmp_path / "out"
    write(out, "old")
    (tmp_path / "out.other").mkdir()
    (tmp_path / ".out.mine.partial").mkdir()
    others = {"out.other", ".out.mine.partial"}
    process = start(WRITES, out, moment)
    assert process.wait(60) == -signal.SIGKILL
    assert out.is_dir() == (there is not None)
    if there is not None:
        assert read(out) == there
    files.recover_missing(out)
    assert read(out) == recovered
    with Output(out, True).held():
        assert {p.name for p in tmp_path.iterdir()} == {"out", ".out.lock"} | others
        assert read(out) == recovered
    assert {p.name for p in tmp_path.iterdir()} == {"out"} | others


def test_a_model_that_a_kill_left_aside_is_found_by_its_name(place: Path) -> None:
    (place / "models" / "export").rename(place / "models" / ".export.0123456789ab.old")
    assert factcli.inspect("models/export")["model_type"] == "factorized_bert"
    assert sorted(p.name for p in (place / "models").iterdir()) == ["dense", "export", "thesis"]
