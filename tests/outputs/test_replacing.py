"""What may not be replaced, whatever is said: sources and other inputs, homes, and what is no model."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import factcli
from factcli.files.outputs import inputs

from .helpers import FAST, refuse


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("models", "models holds the source models/dense"),
        ("models/dense", "is the source models/dense"),
        ("models/dense/", "is the source models/dense"),
        ("models/thesis/../dense", "is the source"),
        ("link/dense", "is the source"),
        ("to-dense", "is the source"),
        ("models/dense/small", "lies in the source models/dense: choose an --output outside"),
        ("to-dense/small", "lies in the source"),
        (".", "the directory that this runs in"),
        ("..", "or holds it"),
        ("", "the directory that this runs in"),
        ("/", "or holds it"),
        ("~", "a home directory"),
        ("models/thesis", r"is not a model \(it holds chapter1.txt\)"),
        ("glue", "is not a model"),
        ("round", "symbolic link in a circle"),
        ("models/dense/config.json", "lies in|is a file"),
        ("/proc", "choose an"),
        ("/proc/small", "not writable"),
        ("n" * 250, "File name too long"),
    ],
)
def test_refused_with_overwrite(output: str, said: str, place: Path) -> None:
    (place / "link").symlink_to("models")
    (place / "to-dense").symlink_to(place / "models" / "dense")
    (place / "round").symlink_to("round")
    refuse(
        place.parent, said, lambda: factcli.convert("models/dense", Path(output), keep=0.5, overwrite=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "output", "said"),
    [
        ({"teacher": "models/dense"}, "models/dense", "is the teacher"),
        ({"mixed_with": "models/dense", "schedule": "mixed-rank", "keep": 0.5}, "models", "holds"),
        ({}, "glue", "is --data-dir glue"),
        ({}, "glue/sst2", "lies in --data-dir glue"),
        ({}, "glue/small", "lies in --data-dir glue"),
        ({"config": "models/export/factcli_recipe.yaml"}, "models/export", "holds the recipe"),
        ({"task": None, "train": "old/x.csv", "validation": "old/x.csv"}, "old", "holds the training file old/x.csv"),
    ],
)
def test_finetune_refuses(options: dict[str, Any], output: str, said: str, place: Path) -> None:
    shutil.copytree("models/export", "old")
    (place / "old" / "x.csv").write_text("text,label\ngood,1\nbad,0\n")
    shutil.copytree("models/dense", "source")
    given = {"task": "sst2", "data_dir": "glue", **FAST} | options
    if given["task"] is None:
        del given["data_dir"]
    refuse(place, said, lambda: factcli.finetune("source", output, overwrite=True, **given))


def test_a_calibration_file_and_a_recipe(place: Path) -> None:
    shutil.copytree("models/export", "old")
    (place / "old" / "texts.txt").write_text("good\nbad\n")
    convert = factcli.convert
    refuse(
        place, "holds --calibration old/texts.txt",
        lambda: convert("models/dense", "old", keep=0.5, criterion="kfac", calibration="old/texts.txt", overwrite=True),
    )  # fmt: skip
    refuse(
        place, "holds the recipe", lambda: convert("models/dense", "models/export", overwrite=True,
                                                   config="models/export/factcli_recipe.yaml"),
    )  # fmt: skip


def test_a_source_in_the_folders_of_a_run(place: Path) -> None:
    """--overwrite would clear the folder away in which the source lies."""
    folder = place / "out-checkpoints"
    shutil.copytree("models/dense", folder / "checkpoint-5")
    (folder / "run.json").write_text('{"training": {}, "versions": {}}')
    refuse(
        place, "out-checkpoints holds the source",
        lambda: factcli.finetune("out-checkpoints/checkpoint-5", "out", task="sst2", data_dir="glue", overwrite=True,
                                 **FAST),
    )  # fmt: skip


def test_the_same_directory_under_another_name(place: Path) -> None:
    """As letters of another case are on some disks: no path says that it is the same."""
    (place / "MODELS").mkdir()
    mount = subprocess.run(["mount", "--bind", "models", "MODELS"], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no right to mount: {mount.stderr.strip()}")
    try:
        for output, said in (("MODELS/dense", "is the source"), ("MODELS/dense/new", "lies in the source")):
            refuse(place, said, lambda o=output: factcli.convert("models/dense", o, keep=0.5, overwrite=True))
    finally:
        subprocess.run(["umount", "MODELS"], check=True)


def test_only_what_is_there_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    found = inputs(("the source", tmp_path / "x"), ("the teacher", "someone/model"), ("--train", None))
    assert [each.said for each in found] == [f"the source {tmp_path / 'x'}"]
