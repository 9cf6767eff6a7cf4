"""Steps are told to whoever watches: each in order to its end, on a terminal as a bar, and nowhere else."""

import fcntl
import os
import pty
import re
import shutil
import struct
import termios
from pathlib import Path

import pytest

import factcli
from factcli.progress import continued, part, steps, tell, watched

from ..conftest import Run
from ..processes import Python
from ..training_helpers import rows, save_model, write_csv

Told = list[tuple[int, int, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("progress")
    save_model(made / "model", head="BertForSequenceClassification")
    write_csv(made / "texts.csv", rows(24, 0))
    return made


def test_parts_and_continued_steps() -> None:
    told: Told = []
    tell(1, 2, "unheard")
    with watched(lambda *step: told.append(step)):
        assert list(steps("walking", "ab")) == ["a", "b"]
        with part(1, 4, "cell"):
            tell(3, 4, "inside")
            tell(3, 0, "of unknown length")
        with continued(10, 30):
            tell(5, 9, "reading")
        with watched(None):
            tell(1, 1, "still heard")
    tell(2, 2, "unheard")
    assert told == [
        (1, 2, "walking"), (2, 2, "walking"), (100, 400, "cell"), (175, 400, "cell"), (15, 30, "reading"),
        (1, 1, "still heard"),
    ]  # fmt: skip


def test_every_step_of_a_conversion_is_told(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTCLI_CACHE", str(tmp_path / "cache"))
    told: Told = []
    texts = str(place / "texts.csv")
    how = {"criterion": "kfac", "allocation": "global", "calibration": texts, "vocabulary": texts}
    factcli.convert(str(place / "model"), tmp_path / "small", keep=0.5, **how, progress=lambda *step: told.append(step))
    names = list(dict.fromkeys(name for *_, name in told))
    assert [n for n in names if n != "writing"] == [
        "counting tokens", "calibrating", "planning", "factorizing", "checking"
    ]  # fmt: skip
    for name in names:
        counts = [(done, total) for done, total, what in told if what == name]
        assert [done for done, _ in counts] == sorted(done for done, _ in counts)
        assert name in ("counting tokens", "writing") or counts[-1][0] == counts[-1][1] > 0


def in_terminal(python: Python, cwd: Path, *words: str) -> str:
    """What a terminal of 60 columns is sent by the command, on stdout and stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    with open(theirs, "r+b", buffering=0) as end:
        process = python.start("-m", "factcli", *words, stdin=end, stdout=end, stderr=end, cwd=cwd)
    sent = b""
    try:
        while more := os.read(ours, 65536):
            sent += more
    except OSError:  # which is how a terminal says that nobody writes any more
        pass
    os.close(ours)
    assert process.wait() == 0, sent.decode()
    return sent.decode()


def test_a_terminal_shows_a_bar_that_fits_and_goes(place: Path, tmp_path: Path, python: Python) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    shutil.copyfile(place / "texts.csv", tmp_path / "texts.csv")
    words = ("convert", "model", "--keep", "0.5", "--criterion", "activation", "--calibration", "texts.csv")
    sent = in_terminal(python, tmp_path, *words, "-o", "small")
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", sent)]
    assert any("━" in line for line in plain)
    assert max(map(len, plain)) <= 60
    assert plain[-2:] == ["small", ""]
    assert in_terminal(python, tmp_path, *words, "-o", "silent", "-q").split() == ["silent"]


def test_no_bar_where_nobody_watches(place: Path, tmp_path: Path, factcli: Run) -> None:
    done = factcli("eval", place / "model", "--validation", place / "texts.csv", cwd=tmp_path)
    assert "━" not in done.stdout + done.stderr
    assert done.returncode == 0
