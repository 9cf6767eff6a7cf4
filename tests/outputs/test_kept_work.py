"""Work is not lost: neither what is there, nor what was written and cannot take its name."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.errors import CheckFailed, FactcliError
from factcli.files import atomic as files

from .helpers import FAST
from .writers import read, write


def test_what_came_meanwhile_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def theirs() -> None:
        write(tmp_path / "else", "theirs")
        (tmp_path / "else").rename(out)

    with pytest.raises(FactcliError, match=r"out exists: .* The result is whole in .*out\.new\."):
        write(out, meanwhile=theirs)
    assert read(out) == "theirs"
    with pytest.raises(FactcliError, match=r"out exists and holds notes.txt.* whole in .*out\.new-2\."):
        write(out, overwrite=True, meanwhile=lambda: (out / "notes.txt").write_text("mine"))
    assert (out / "notes.txt").read_text() == "mine"
    assert [read(tmp_path / name) for name in ("out", "out.new", "out.new-2")] == ["theirs", "new", "new"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("exchange", [True, False])
def test_what_overwrite_would_replace_stays_if_the_new_one_is_gone(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out, "old")
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)

    def remove() -> None:
        (work,) = tmp_path.glob(".out.*.partial")
        shutil.rmtree(work)

    with pytest.raises(FileNotFoundError):
        write(out, overwrite=True, meanwhile=remove)
    assert read(out) == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_check_that_fails_keeps_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "old")

    def check() -> None:
        raise CheckFailed("Layer 3 differs.")

    for name in ("out.unchecked", "out.unchecked-2"):
        with pytest.raises(CheckFailed, match=rf"Layer 3 differs\. What was written is kept in .*/{name}\."):
            write(out, overwrite=True, meanwhile=check)
        assert read(tmp_path / name) == "new"
    assert read(out) == "old"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_training_whose_export_does_not_come_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The export and the checkpoints stay, and --resume has them again."""
    import factcli.training.export as module

    def fails(work: Path, *rest: Any) -> None:
        (work / "config.json").write_text("{}")
        raise CheckFailed("The saved model does not reload.")

    options: dict[str, Any] = {"task": "sst2", "data_dir": "glue"} | FAST | {"save_steps": 1}
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_model", fails)
        with pytest.raises(CheckFailed, match=r"kept in out\.unchecked\."):
            factcli.finetune("models/dense", "out", **options)
    assert (place / "out.unchecked" / "config.json").is_file()
    assert (place / "out-checkpoints" / "checkpoint-1").is_dir()
    factcli.finetune("models/dense", "out", resume=True, **options)
    assert sorted(p.name for p in place.iterdir()) == ["glue", "models", "out", "out.unchecked"]
