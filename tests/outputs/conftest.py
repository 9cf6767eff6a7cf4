"""Fixtures: a directory with models, data, and what is precious to a user."""

import shutil
from pathlib import Path

import pytest

import factcli

from ..training_helpers import save_model, write_glue


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model and an export of it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "dense")
    factcli.convert(str(folder / "dense"), folder / "export", keep=0.5)
    write_glue(folder / "glue", "sst2", train=16, validation=16)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `here`, in which things run, with two models, data, and what is precious to a user."""
    here = tmp_path / "here"
    shutil.copytree(made, here / "models")
    (here / "models" / "glue").rename(here / "glue")
    (here / "models" / "thesis").mkdir()
    (here / "models" / "thesis" / "chapter1.txt").write_text("years of work")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return here
